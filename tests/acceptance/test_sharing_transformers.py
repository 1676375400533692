"""Every transformer of the allow-list, kept for other fits, gives the bits of separate fits."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler

from skygrid.worker.sharing.identity import PREDICTORS, TRANSFORMERS
from tests.acceptance.sharing import Shared, different

pytestmark = pytest.mark.sklearn_versions

COMPOSED = {"Pipeline", "FeatureUnion", "ColumnTransformer"}
"""Compared in test_sharing_prefixes, because they contain others."""

WORDS = {"CountVectorizer", "TfidfVectorizer", "HashingVectorizer"}
CATEGORIES = {"OneHotEncoder", "OrdinalEncoder"}
SPARSE = {
    "TfidfTransformer",
    "MaxAbsScaler",
    "Normalizer",
    "TruncatedSVD",
    "VarianceThreshold",
    "SelectKBest",
    "GaussianRandomProjection",
    "SparseRandomProjection",
    "StandardScaler",
}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "StandardScaler": [{}, {"with_mean": False}],
    "PowerTransformer": [{}, {"standardize": False}],
    "QuantileTransformer": [{"n_quantiles": 10, "random_state": 0}],
    "KBinsDiscretizer": [
        {"n_bins": 3, "encode": "ordinal", "random_state": 0, "strategy": "uniform"}
    ],
    "PCA": [
        {"n_components": 2, "svd_solver": "full"},
        {"n_components": 2, "svd_solver": "randomized", "random_state": 3},
    ],
    "FunctionTransformer": [{"func": np.exp}, {"func": np.abs, "inverse_func": np.abs}],
    "SelectKBest": [{"k": 2}],
    "SelectPercentile": [{"percentile": 50}],
    "SelectFpr": [{"alpha": 0.9}],
    "SelectFdr": [{"alpha": 0.9}],
    "SelectFwe": [{"alpha": 0.9}],
    "MissingIndicator": [{"features": "all"}],
    "TfidfTransformer": [{}, {"sublinear_tf": True, "norm": "l1"}],
    "GaussianRandomProjection": [{"n_components": 2, "random_state": 0}],
    "SparseRandomProjection": [{"n_components": 2, "random_state": 0}],
}


def known(names: frozenset[str]) -> dict[str, type]:
    found = {}
    for name in sorted(names):
        module, _, kind = name.rpartition(".")
        found[kind] = getattr(importlib.import_module(module), kind)
    return found


def data(kind: str, form: str) -> tuple[Any, Any]:
    generator = np.random.default_rng(4)
    y = np.arange(42) % 3
    if kind in WORDS:
        words = np.array(["red", "green", "sweet", "sour", "pear", "plum"])
        return np.array([" ".join(generator.choice(words, 4)) for _ in y]), y
    if kind in CATEGORIES:
        return generator.integers(0, 3, size=(42, 3)), y
    X = np.abs(generator.normal(size=(42, 5)) + y[:, None])
    if kind in {"SimpleImputer", "KNNImputer", "MissingIndicator"}:
        X[generator.random(X.shape) < 0.1] = np.nan
    if form == "sparse":
        return sparse.csr_matrix(np.where(X > 1, X, 0)), y
    dtype, order = form.split()
    return np.asarray(X, dtype=dtype, order=order), y  # type: ignore[call-overload]


def cases() -> list[Any]:
    found = []
    for kind in sorted(known(TRANSFORMERS).keys() - COMPOSED):
        forms = ["float64 C", "float32 F"] if kind not in WORDS | CATEGORIES else ["as it is"]
        forms += ["sparse"] if kind in SPARSE else []
        for setting in SETTINGS.get(kind, [{}]):
            for form in forms:
                if kind == "TfidfTransformer" and form != "sparse":
                    continue
                if kind == "StandardScaler" and form == "sparse" and not setting:
                    continue
                found.append(pytest.param(kind, setting, form, id=f"{kind}-{form}-{setting}"))
    return found


@pytest.mark.parametrize(("kind", "setting", "form"), cases())
def test_a_transformer_is_kept_to_the_last_bit(
    kind: str, setting: dict[str, Any], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps after a kept transformer score as after a separately fitted one."""
    monkeypatch.setattr("skygrid.worker.sharing.prefix_store.WORTH_SECONDS", 0.0)
    step = known(TRANSFORMERS)[kind](**setting)
    if "random_state" in step.get_params() and not setting:
        step.set_params(random_state=0)
    X, y = data(kind, form)
    last = RidgeClassifier(solver="lsqr", random_state=0)
    line = Pipeline([("one", step), ("two", MaxAbsScaler()), ("own", last)])
    if kind == "HashingVectorizer":
        line.set_params(one__n_features=16)
    shared = Shared(line, {"own__alpha": [0.1, 1.0]}, X, y, ["accuracy", "f1_macro"], True)
    ours = shared.together(tmp_path)
    apart = shared.apart()
    assert different(ours, apart) == []
    assert {result.status for result in apart} == {"scored"}
    assert [result.prefix_kept for result in ours] == [False, True, False, True]


def test_the_allow_list_names_existing_classes() -> None:
    """Every name is a class of each supported scikit-learn."""
    assert len(known(TRANSFORMERS | PREDICTORS)) == len(TRANSFORMERS | PREDICTORS)


def test_a_function_of_the_users_own_is_not_kept(tmp_path: Path) -> None:
    """A FunctionTransformer is kept for NumPy's own functions only."""
    X, y = data("", "float64 C")
    line = Pipeline([("one", FunctionTransformer(lambda X: X + 1)), ("own", RidgeClassifier())])
    shared = Shared(line, {"own__alpha": [0.1, 1.0]}, X, y)
    assert set(shared.sharing.prefixes) == {-1}
