"""A correct search file becomes a search and its data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.svm import SVC

from skygrid.plan.spec import SearchSpec
from skygrid.search_file import load_search
from skygrid.search_file.parameters import check_grid
from skygrid.user_code.source import Place

HEAD = """\
import numpy as np, pandas as pd, polars as pl, scipy.sparse
from sklearn.ensemble import RandomForestClassifier as Forest
from sklearn.experimental import enable_halving_search_cv
from sklearn.model_selection import *
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from scipy.stats import uniform
from sklearn.utils import Bunch
from sklearn.metrics import accuracy_score, make_scorer
A = np.arange(40.0).reshape(20, 2)
B = np.arange(20) % 2
"""
GOOD = {
    "estimator": "estimator = SVC()",
    "param_grid": "param_grid = {'C': [1, 10]}",
    "dataset": "dataset = (A, B)",
}

Load = Callable[..., SearchSpec]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that loads `parts`, with good parts for the other names."""

    def load(*parts: str, without: tuple[str, ...] = ()) -> SearchSpec:
        given = {part.removeprefix("def ").split("(")[0].split()[0] for part in parts}
        good = [good for name, good in GOOD.items() if name not in {*without, *given}]
        path = tmp_path / "search.py"
        path.write_text(HEAD + "\n".join([*parts, *good]))
        return load_search(path)

    return load


def test_grid_with_defaults(load: Load) -> None:
    """Names that are missing keep scikit-learn's defaults."""
    search = load().search
    assert type(search) is GridSearchCV
    expected = GridSearchCV(search.estimator, search.param_grid).get_params(deep=False)
    assert repr(search.get_params(deep=False)) == repr(expected)


def test_grid_with_every_option(load: Load) -> None:
    """Each option is passed to the search unchanged."""
    spec = load(
        "cv = KFold(3)",
        "scoring = {'a': 'accuracy', 'b': make_scorer(accuracy_score)}",
        "refit = 'b'",
        "error_score = 'raise'",
        "return_train_score = True",
        "holdout = (A, B)",
    )
    assert isinstance(spec.search.cv, KFold)
    assert list(spec.search.scoring) == ["a", "b"]
    assert spec.search.refit == "b"
    assert spec.search.error_score == "raise"
    assert spec.search.return_train_score is True
    assert spec.holdout is not None
    assert spec.holdout[0].shape == (20, 2)


def test_randomized(load: Load) -> None:
    """`param_distributions` gives a randomized search with its own two options."""
    distributions = "param_distributions = {'C': uniform(0, 1), 'kernel': ['rbf'], 'tol': [1e-3]}"
    spec = load(distributions, "n_iter = 3", "random_state = 7", without=("param_grid",))
    assert type(spec.search) is RandomizedSearchCV
    assert (spec.search.n_iter, spec.search.random_state) == (3, 7)
    assert RandomizedSearchCV(spec.search.estimator, {}).n_iter == 10


@pytest.mark.parametrize(
    "text",
    [
        "GridSearchCV(SVC(), {'C': [1]}, cv=3)",
        "RandomizedSearchCV(SVC(), {'C': uniform(0, 1)}, random_state=3)",
        "HalvingGridSearchCV(SVC(), {'C': [1, 2]})",
        "HalvingRandomSearchCV(SVC(), {'C': uniform(0, 1)})",
        "type('Own', (GridSearchCV,), {'__init__': GridSearchCV.__init__})(SVC(), {'C': [1]})",
        "GridSearchCV(SVC(), {'C': [1]}, cv=2).fit(A, B)",
    ],
)
@pytest.mark.parametrize("form", ["search = {}", "def search():\n    return {}"])
def test_whole_search(load: Load, text: str, form: str) -> None:
    """A whole search of any class is accepted, and arrives unfitted."""
    spec = load(form.format(text), without=("estimator", "param_grid"))
    assert type(spec.search).__name__ == text.partition("(")[0].replace("type", "Own")
    assert not hasattr(spec.search, "cv_results_")


DATASETS = {
    "(A, B)": ("ndarray", True, []),
    "(A,)": ("ndarray", False, []),
    "(A, None)": ("ndarray", False, []),
    "Bunch(data=A, target=B, feature_names=['a', 'b'])": ("ndarray", True, []),
    "{'X': A, 'y': B, 'groups': B, 'sample_weight': B + 1}": (
        "ndarray",
        True,
        ["groups", "sample_weight"],
    ),
    "{'X': A, 'y': B, 'clf__sample_weight': B}": ("ndarray", True, ["clf__sample_weight"]),
    "(pd.DataFrame(A), pd.Series(B))": ("DataFrame", True, []),
    "(pl.DataFrame(A), pl.Series(B))": ("DataFrame", True, []),
    "(scipy.sparse.csr_matrix(A), B)": ("csr_matrix", True, []),
    "(scipy.sparse.coo_array(A), B)": ("coo_array", True, []),
    "(A.tolist(), B.tolist())": ("list", True, []),
    "(['some text'] * 20, B)": ("list", True, []),
    "(np.zeros((20, 2, 2)), B)": ("ndarray", True, []),
    "(A, np.c_[B, B])": ("ndarray", True, []),
}


@pytest.mark.parametrize("text", DATASETS)
@pytest.mark.parametrize("form", ["dataset = {}", "def dataset():\n    return {}"])
def test_dataset(load: Load, text: str, form: str) -> None:
    """Each form of dataset and container of samples is passed on unchanged."""
    kind, has_y, fit_params = DATASETS[text]
    # Clustering needs no y.
    spec = load(
        "from sklearn.cluster import KMeans",
        "estimator = KMeans()",
        "param_grid = {'n_clusters': [2, 3]}",
        form.format(text),
    )
    assert type(spec.X).__name__ == kind
    assert (spec.y is not None) == has_y
    assert sorted(spec.fit_params) == fit_params


def test_data_are_not_copied(load: Load) -> None:
    """X and y of the spec are the objects of the file."""
    spec = load("holdout = (A, B)")
    module = sys.modules[spec.code.modules[0]]
    assert spec.X is module.A
    assert spec.y is module.B
    assert spec.holdout is not None
    assert spec.holdout[0] is module.A


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scoring = 'f1'", str),
        ("def scoring(): return 'f1'", str),
        ("def scoring(estimator, X, y): return 0.0", "function"),
        ("def scoring(estimator, X, y=None): return 0.0", "function"),
        ("def scoring(*args, **kwargs): return 0.0", "function"),
        ("scoring = make_scorer(accuracy_score)", "_Scorer"),
        ("def scoring(): return make_scorer(accuracy_score)", "_Scorer"),
        ("refit = lambda results: 0", "function"),
        ("def refit(): return False", bool),
        ("def refit(results=None): return 0", "function"),
        ("cv = 3", int),
        ("cv = np.int64(3)", "int64"),
        ("def cv(): return KFold(3)", "KFold"),
        ("cv = [(np.arange(10), np.arange(10, 20))]", list),
        ("cv = KFold(3).split(A)", list),
        ("def cv():\n    yield np.arange(10), np.arange(10, 20)", list),
        ("cv = None", type(None)),
        ("error_score = 0", int),
        ("error_score = np.nan", float),
        ("return_train_score = np.True_", "bool"),
    ],
)
def test_value_or_function(load: Load, text: str, expected: type | str) -> None:
    """A function without required arguments is called; one that scikit-learn calls is passed on."""
    name = text.removeprefix("def ").split("(")[0].split()[0]
    value = getattr(load(text).search, name)
    if isinstance(expected, str):
        assert type(value).__name__.rstrip("_") == expected
    else:
        assert type(value) is expected


GRIDS = [
    "{}",
    "[{}]",
    "{'C': np.logspace(-2, 2, 5)}",
    "{'C': range(1, 5)}",
    "{'C': (1, 2)}",
    "({'C': [1]}, {'kernel': ['rbf']})",
    "[{'kernel': ['linear'], 'C': [1]}, {'kernel': ['rbf'], 'gamma': [1, 'scale', None]}]",
]


@pytest.mark.parametrize("grid", GRIDS)
def test_grid(load: Load, grid: str) -> None:
    """Each form that `ParameterGrid` accepts is accepted."""
    load(f"param_grid = {grid}")


NESTED = [
    "[{'clf': [SVC()], 'clf__C': [1]}, {'clf': [Forest()], 'clf__max_depth': [3]}]",
    "{'clf': [SVC(), SVC(kernel='linear')], 'clf__C': [1, 2]}",
    "{'scale': ['passthrough', None]}",
    "{'clf': [Pipeline([('inner', SVC())])], 'clf__inner__C': [1]}",
    "{'clf': [Pipeline([('a', SVC())])], 'clf__a': [Forest()], 'clf__a__max_depth': [2]}",
    "{'steps': [[('other', SVC())]], 'other__C': [1]}",
    "{'steps': [[('other', SVC())], [('other', SVC(C=2))]]}",
    "{'clf__C': [1], 'memory': [None]}",
]


@pytest.mark.parametrize("grid", NESTED)
def test_nested_grid(load: Load, grid: str) -> None:
    """Replaced components have their own parameters, at any depth, as in scikit-learn."""
    spec = load(
        "estimator = Pipeline([('scale', 'passthrough'), ('clf', SVC(C=7))])",
        f"param_grid = {grid}",
    )
    assert spec.search.estimator.get_params()["clf__C"] == 7


def test_own_values_are_not_changed(load: Load) -> None:
    """The check of a nested parameter changes neither the estimator nor the grid."""
    spec = load(
        "estimator = Pipeline([('clf', Forest())])",
        "param_grid = {'clf': [SVC(C=7)], 'clf__C': [1, 2]}",
    )
    assert spec.search.param_grid["clf"][0].C == 7
    assert type(spec.search.estimator.named_steps["clf"]).__name__ == "RandomForestClassifier"


def test_estimator_that_accepts_unlisted_parameters(load: Load) -> None:
    """An estimator whose ``set_params`` accepts unlisted names is accepted."""
    load(
        "class Open(SVC):",
        "    def set_params(self, **params):",
        "        vars(self).update(params)",
        "        return self",
        "estimator = Open()",
        "param_grid = {'anything': [1]}",
    )


def test_distributions_are_not_sampled(load: Load) -> None:
    """The check draws no samples, so the state of a distribution does not change."""
    load(
        "class Once:",
        "    def rvs(self, random_state=None): raise AssertionError",
        "param_distributions = {'C': Once()}",
        without=("param_grid",),
    )


def test_fitted_estimator(load: Load) -> None:
    """A fitted estimator is accepted."""
    load("estimator = SVC().fit(A, B)")


def test_scorer_without_targets(load: Load) -> None:
    """Without y, a scorer may take two arguments."""
    load(
        "from sklearn.cluster import KMeans",
        "estimator = KMeans()",
        "param_grid = {'n_clusters': [2, 3]}",
        "dataset = (A,)",
        "def scoring(estimator, X): return 0.0",
    )


@pytest.mark.parametrize(
    "grid",
    [
        {"C": list(range(100_000)), "gamma": [1.0]},
        {"C": np.arange(100_000), "gamma": [1.0]},
        {"C": range(1000), "gamma": range(100)},
    ],
    ids=["list", "array", "product"],
)
def test_many_candidates_are_checked_at_once(grid: dict[str, Any]) -> None:
    """The cost of a check does not grow with the number of candidates."""
    place = Place(file=None, name="param_grid", label="param_grid")  # type: ignore[arg-type]
    calls = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event in {"call", "c_call"}:
            calls.append(event)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        check_grid(grid, SVC(), place)
    finally:
        sys.setprofile(before)
    assert 0 < len(calls) < 10_000
