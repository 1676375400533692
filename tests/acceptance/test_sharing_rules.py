"""Every sharing rule gives the bits of separate fits, for generated examples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_selection import SelectKBest, SelectPercentile, f_classif, f_regression
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR, NuSVC, NuSVR
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from skygrid.worker.sharing.rules import rules
from tests.acceptance.sameness import differences
from tests.acceptance.sharing import Shared, StateScorer, different

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

pytestmark = pytest.mark.sklearn_versions

CLASSIFIERS = [None, "accuracy", "roc_auc_ovr", "neg_log_loss", ["accuracy", "neg_log_loss"]]
MARGINS = [None, "accuracy", "f1_macro", ["accuracy", "balanced_accuracy"]]
REGRESSORS = [None, "r2", "neg_median_absolute_error", ["r2", "neg_mean_squared_error"]]
SEEDS = st.integers(0, 2**31)


def margin(estimator: Any, X: Any, y: Any) -> float:
    """Sum the decision function or the predictions; a user's own scorer."""
    name = "decision_function" if hasattr(estimator, "decision_function") else "predict"
    return float(np.sum(getattr(estimator, name)(X)))


def one_of(*options: Any) -> Any:
    return st.sampled_from(options)


def counts(most: int) -> Any:
    kinds = one_of(int, np.int64)
    sizes = st.lists(st.integers(1, most), min_size=2, max_size=3)
    return st.builds(lambda kind, found: [kind(item) for item in found], kinds, sizes)


@st.composite
def forests(draw: Any) -> tuple[Any, str, list[Any]]:
    kind = draw(
        one_of(
            RandomForestClassifier,
            RandomForestRegressor,
            ExtraTreesClassifier,
            ExtraTreesRegressor,
        )
    )
    bootstrap = draw(st.booleans())
    settings = {
        "bootstrap": bootstrap,
        "max_depth": draw(one_of(None, 2)),
        "max_features": draw(one_of("sqrt", 1, 1.0)),
        "max_samples": draw(one_of(None, 0.5)) if bootstrap else None,
        "oob_score": bootstrap and draw(st.booleans()),
        "ccp_alpha": draw(one_of(0.0, 0.02)),
        "random_state": draw(SEEDS),
    }
    return kind(**settings), "n_estimators", draw(counts(15))


@st.composite
def bags(draw: Any) -> tuple[Any, str, list[Any]]:
    regression = draw(st.booleans())
    kind = BaggingRegressor if regression else BaggingClassifier
    parts = (
        (None, DecisionTreeRegressor(max_depth=2), LinearRegression())
        if regression
        else (None, DecisionTreeClassifier(max_depth=2), KNeighborsClassifier(2), GaussianNB())
    )
    settings = {
        "estimator": draw(one_of(*parts)),
        "max_samples": draw(one_of(0.7, 1.0)),
        "max_features": draw(one_of(0.6, 1.0)),
        "bootstrap": draw(st.booleans()),
        "bootstrap_features": draw(st.booleans()),
        "random_state": draw(SEEDS),
    }
    return kind(**settings), "n_estimators", draw(counts(9))


@st.composite
def gradient_boosting(draw: Any) -> tuple[Any, str, list[Any]]:
    kind = draw(one_of(GradientBoostingClassifier, GradientBoostingRegressor))
    settings = {
        "learning_rate": draw(one_of(0.1, 1.0)),
        "max_depth": draw(one_of(1, 3)),
        "subsample": draw(one_of(1.0, 0.6)),
        "max_features": draw(one_of(None, 2)),
        "n_iter_no_change": draw(one_of(None, 1, 2)),
        "validation_fraction": 0.3,
        "init": draw(one_of(None, "zero")),
        "random_state": draw(SEEDS),
    }
    return kind(**settings), "n_estimators", draw(counts(12))


@st.composite
def hist_gradient_boosting(draw: Any) -> tuple[Any, str, list[Any]]:
    kind = draw(one_of(HistGradientBoostingClassifier, HistGradientBoostingRegressor))
    settings = {
        "learning_rate": draw(one_of(0.1, 1.0)),
        "max_leaf_nodes": draw(one_of(4, 31)),
        "min_samples_leaf": draw(one_of(2, 10)),
        "max_features": draw(one_of(1.0, 0.5)),
        "early_stopping": draw(one_of(False, "auto")),
        "random_state": draw(SEEDS),
    }
    return kind(**settings), "max_iter", draw(counts(6))


@st.composite
def ada_boost(draw: Any) -> tuple[Any, str, list[Any]]:
    if draw(st.booleans()):
        loss = draw(one_of("linear", "square", "exponential"))
        estimator: Any = AdaBoostRegressor(loss=loss, random_state=draw(SEEDS))
    else:
        tree = draw(one_of(None, DecisionTreeClassifier(max_depth=2), GaussianNB()))
        estimator = AdaBoostClassifier(tree, random_state=draw(SEEDS))
        if "algorithm" in estimator.get_params():
            # The variant that is not deprecated.
            known = estimator.get_params()["algorithm"]
            estimator.set_params(algorithm="SAMME" if known == "SAMME.R" else known)
    estimator.set_params(learning_rate=draw(one_of(0.5, 1.0)))
    return estimator, "n_estimators", draw(counts(8))


@st.composite
def pruned(draw: Any) -> tuple[Any, str, list[Any]]:
    kind = draw(
        one_of(
            DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
        )
    )
    settings = {"max_features": draw(one_of(None, 2)), "random_state": draw(SEEDS)}
    alphas = one_of(0, 0.0, 0.001, 0.03, np.float64(0.1), 5.0)
    return kind(**settings), "ccp_alpha", draw(st.lists(alphas, min_size=2, max_size=4))


@st.composite
def kernels(draw: Any) -> tuple[Any, str, list[Any]]:
    kind = draw(one_of(SVC, NuSVC, SVR, NuSVR))
    unused = draw(
        one_of(
            ("linear", "gamma"),
            ("linear", "degree"),
            ("rbf", "degree"),
            ("rbf", "coef0"),
            ("sigmoid", "degree"),
        )
    )
    values = {
        "gamma": one_of(0.1, 1.0, "auto", "scale"),
        "degree": one_of(1, 2, 3),
        "coef0": one_of(0.0, 1.0, -1),
    }
    kernel, parameter = unused
    settings: dict[str, Any] = {"kernel": kernel}
    settings |= {"nu": 0.3} if kind in {NuSVC, NuSVR} else {"C": draw(one_of(0.1, 1, 10.0))}
    if kind is SVC:
        settings["class_weight"] = draw(one_of(None, "balanced"))
    return kind(**settings), parameter, draw(st.lists(values[parameter], min_size=2, max_size=3))


@st.composite
def smoothing(draw: Any) -> tuple[Any, str, list[Any]]:
    priors = draw(one_of(None, [0.2, 0.3, 0.5]))
    values = st.lists(
        one_of(0, 0.0, 1e-9, 1e-3, np.float64(0.1), 1.0, 1, 1e3), min_size=2, max_size=4
    )
    return GaussianNB(priors=priors), "var_smoothing", draw(values)


@st.composite
def best_features(draw: Any) -> tuple[Any, str, list[Any]]:
    estimator, function = draw(
        one_of((LogisticRegression(), f_classif), (Ridge(solver="svd"), f_regression))
    )
    values = draw(st.lists(one_of(1, 2, np.int64(3), "all", 100), min_size=2, max_size=4))
    steps = [("best", SelectKBest(function)), ("own", estimator)]
    return Pipeline(steps), "best__k", values


@st.composite
def best_percentile(draw: Any) -> tuple[Any, str, list[Any]]:
    steps = [("best", SelectPercentile(f_classif)), ("own", GaussianNB())]
    values = draw(st.lists(one_of(10, 50.0, np.float64(70), 100), min_size=2, max_size=4))
    return Pipeline(steps), "best__percentile", values


@st.composite
def the_same(draw: Any) -> tuple[Any, str, list[Any]]:
    estimator, parameter, values = draw(
        one_of(
            (KNeighborsClassifier(), "n_neighbors", [1, 3]),
            (LogisticRegression(), "C", [0.1, 1.0]),
            (Ridge(solver="cholesky"), "alpha", [1, 1.0]),
        )
    )
    return estimator, parameter, [*values, *values]


STRATEGIES: dict[str, Callable[[], Any]] = {
    "trees of a forest": forests,
    "estimators of a bag": bags,
    "stages of gradient boosting": gradient_boosting,
    "rounds of histogram gradient boosting": hist_gradient_boosting,
    "estimators of AdaBoost": ada_boost,
    "pruning of one tree": pruned,
    "parameters that the kernel ignores": kernels,
    "smoothing of naive Bayes": smoothing,
    "scores of features, for every k": best_features,
    "scores of features, for every percentile": best_percentile,
    "the same candidate": the_same,
}
TAKES_SPARSE = {"trees of a forest", "parameters that the kernel ignores", "pruning of one tree"}


def test_every_rule_is_compared_with_separate_fits() -> None:
    """Every rule has a strategy that draws examples."""
    assert STRATEGIES.keys() == rules().keys()


@st.composite
def problems(draw: Any, name: str) -> Shared:
    """Draw a search to which the rule applies: estimator, place in a pipeline, data, scorer."""
    estimator, parameter, values = draw(STRATEGIES[name]())
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    X, y = _data(draw, generator, estimator, name)
    estimator, parameter, grid = _placed(draw, estimator, parameter, values, sparse.issparse(X))
    weighted = draw(st.booleans()) and not isinstance(estimator, Pipeline) and _weighs(estimator)
    fit_params = {"sample_weight": generator.random(X.shape[0])} if weighted else {}
    scoring = draw(one_of(*_scorings(estimator, grid), margin))
    return Shared(
        estimator,
        grid,
        X,
        y,
        scoring,
        draw(st.booleans()),
        fit_params=fit_params,
        cv=draw(one_of(2, 3)),
    )


def _weighs(estimator: Any) -> bool:
    inner = estimator.get_params().get("estimator")
    return not isinstance(estimator, KNeighborsClassifier | NuSVC | NuSVR) and not isinstance(
        inner, KNeighborsClassifier
    )


def _scorings(estimator: Any, grid: dict[str, Any]) -> list[Any]:
    last = grid["own"][0] if "own" in grid else estimator
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    if not is_classifier(last):
        return REGRESSORS
    return (
        CLASSIFIERS
        if hasattr(type(last), "predict_proba") and not isinstance(last, SVC | NuSVC)
        else MARGINS
    )


def _data(draw: Any, generator: Any, estimator: Any, name: str) -> tuple[Any, Any]:
    n_samples = draw(st.integers(36, 60))
    X = generator.normal(size=(n_samples, draw(st.integers(3, 6))))
    X = np.round(X, draw(one_of(1, 12)))  # fewer digits make ties
    X = X.astype(draw(one_of(np.float32, np.float64)), order=draw(one_of("C", "F")))
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if is_classifier(last):
        y: Any = np.arange(n_samples) % 3
        X[:, 0] += y
        y = y[generator.permutation(n_samples)] if draw(st.booleans()) else y
    else:
        y = X[:, 0] * 2 + generator.normal(size=n_samples)
    if name in TAKES_SPARSE and draw(st.booleans()):
        X = draw(one_of(sparse.csr_matrix, sparse.csc_matrix))(np.where(X > 0, X, 0))
    return X, y


def _placed(
    draw: Any, estimator: Any, parameter: str, values: list[Any], is_sparse: bool
) -> tuple[Any, str, dict[str, Any]]:
    """Place the estimator alone, in a pipeline, in a nested one, or among the grid's values."""
    place = draw(one_of("alone", "pipeline", "nested", "swapped"))
    if place == "alone" or is_sparse:
        return estimator, parameter, {parameter: values}
    scale = StandardScaler()
    if place == "pipeline":
        return Pipeline([("scale", scale), ("own", estimator)]), "", {f"own__{parameter}": values}
    if place == "nested":
        inner = Pipeline([("again", MinMaxScaler()), ("gap", "passthrough"), ("own", estimator)])
        before = Pipeline([("scale", scale), ("none", None)])
        outer = Pipeline([("before", before), ("inner", inner)])
        return outer, "", {f"inner__own__{parameter}": values}
    whole = Pipeline([("scale", scale), ("own", LogisticRegression())])
    return whole, "", {"own": [estimator], f"own__{parameter}": values}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_rule_gives_the_bits_of_separate_fits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores, warnings and errors are those of separate fits, with and without kept prefixes."""
    monkeypatch.setattr("skygrid.worker.sharing.prefix_store.WORTH_SECONDS", 0.0)
    shared_fits = 0

    @hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
    @hypothesis.given(problems(name))
    def compare(shared: Shared) -> None:
        nonlocal shared_fits
        apart = shared.apart()
        assert different(shared.together(), apart) == []
        with tempfile.TemporaryDirectory() as folder:
            kept = shared.together(folder)
        assert different(kept, apart) == []
        shared_fits += sum(result.answered or result.prefix_kept for result in kept)

    compare()
    assert shared_fits > 25


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_scorer_sees_all_attributes_of_a_separate_fit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's scorer sees all public attributes of a separate fit in each member of a group."""
    monkeypatch.setattr("skygrid.worker.sharing.prefix_store.WORTH_SECONDS", 0.0)

    @hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @hypothesis.given(problems(name))
    def compare(shared: Shared) -> None:
        shared.scoring = shared.scorer = scorer = StateScorer()
        with tempfile.TemporaryDirectory() as folder:
            shared.together(folder)
        together = sorted(scorer.seen, key=_setting)
        scorer.seen = []
        shared.apart()
        apart = sorted(scorer.seen, key=_setting)
        for one, other in zip(together, apart, strict=True):
            assert one.keys() == other.keys()
            assert differences(one, {key: other[key] for key in one}) == []

    compare()


def _setting(state: dict[str, Any]) -> str:
    return repr(sorted((key, repr(value)) for key, value in state.items() if not key.endswith("_")))
