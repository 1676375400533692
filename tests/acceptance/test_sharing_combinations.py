"""Shared fits score as GridSearchCV, for all kinds of estimators and scorers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skygrid.worker.sharing.identity import KEEPS_SAMPLES, PREDICTORS, TRANSFORMERS
from skygrid.worker.wire.messages.results import FitResult
from skygrid.worker.wire.scores import from_wire
from tests.acceptance.prying import SCORERS, Description, counts_attributes
from tests.acceptance.sharing import Shared, keep_everything

pytestmark = pytest.mark.sklearn_versions

GENERATOR = np.random.default_rng(0)
FEATURES = np.round(GENERATOR.normal(size=(40, 5)), 2)
TARGET = FEATURES[:, 0] * 2 + GENERATOR.normal(size=40)
CLASSES = np.arange(40) % 3
WEIGHTS = np.linspace(0.1, 1, 40)
BY_CLASS = {0: 1, 1: 2, 2: 0.5}

TREES = [3, 5, 4]
OUT_OF_BAG = [20, 24, 22]
"""Enough trees that each sample is out of one bag; otherwise scikit-learn warns."""


class Writing(RandomForestClassifier):
    """A user's forest that writes into X when it predicts."""

    def predict(self, X: Any) -> Any:
        X[:, 0] = 0
        return super().predict(X)


class WritingTree(DecisionTreeRegressor):
    """A user's tree that writes into X when it is fitted."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        X += 1
        return super().fit(X, y, sample_weight)


def double(X: Any) -> Any:
    """Double X in place and return it."""
    X *= 2
    return X


def frame(X: Any) -> Any:
    """Return X with column names."""
    return pd.DataFrame(X, columns=list("abcde"))


def classes(estimator: Any, grid: Any, X: Any = FEATURES, y: Any = CLASSES, **more: Any) -> Shared:
    """Return a search of a classifier."""
    return Shared(estimator, grid, X.copy(), y.copy(), train_scores=True, **more)


def numbers(estimator: Any, grid: Any, X: Any = FEATURES, y: Any = TARGET, **more: Any) -> Shared:
    """Return a search of a regressor."""
    return classes(estimator, grid, X, y, **more)


def after(first: Any, last: Any, more: Any = None) -> Pipeline:
    """Return a pipeline whose last step is named `own`."""
    return Pipeline([("first", first), *([("more", more)] if more else []), ("own", last)])


def own(**grid: Any) -> dict[str, Any]:
    """Return the parameters of the last step of `after`."""
    return {f"own__{name}": values for name, values in grid.items()}


def forest(**settings: Any) -> Any:
    return RandomForestClassifier(random_state=0, **settings)


def regression_forest(**settings: Any) -> Any:
    return RandomForestRegressor(random_state=0, **settings)


def out_of_bag(first: Any, X: Any = FEATURES, y: Any = TARGET, **more: Any) -> Shared:
    """Return a search of a forest with out-of-bag scores after a step."""
    estimator = after(first, regression_forest(oob_score=True))
    return numbers(estimator, own(n_estimators=OUT_OF_BAG), X, y, **more)


def twice(estimator: Any, X: Any = FEATURES, y: Any = CLASSES, **settings: Any) -> Shared:
    """Return a search with the same candidate twice."""
    same = {name: [value] for name, value in settings.items()}
    return classes(estimator, [same, same], X, y)


def one_object_in_two_steps() -> Shared:
    scale = StandardScaler()
    steps = [("a", scale), ("b", scale), ("own", forest())]
    return classes(Pipeline(steps), {"a": [scale], "b": [scale], **own(n_estimators=TREES)})


def kept_by_shorter_and_longer_lines() -> Shared:
    """Return a search with a step that is the last kept step of some candidates only."""
    estimator = after(StandardScaler(), forest(n_estimators=2), PCA(1, svd_solver="full"))
    depths = own(max_depth=[1, 2])
    return classes(
        estimator, [{"more": ["passthrough"], **depths}, depths | {"more__n_components": [1, 2]}]
    )


def features_of_shorter_and_longer_lines() -> Shared:
    """Return the same search with a feature selection."""
    estimator = after(SelectKBest(f_classif), forest(n_estimators=2), PCA(1, svd_solver="full"))
    sizes = {"first__k": [1, 2], **own(max_depth=[1, 2])}
    return classes(estimator, [{"more": ["passthrough"], **sizes}, sizes])


UNION = FeatureUnion(
    [("a", StandardScaler()), ("b", PCA(2, svd_solver="full"))],
    transformer_weights={"a": 2.0, "b": 0.5},
)
REMAINDER = ColumnTransformer([("a", StandardScaler(), [0, 1])], remainder=MinMaxScaler())
VOTERS = [("a", RandomForestClassifier(3, random_state=0)), ("b", GaussianNB())]
MONOTONIC = [1, 0, 0, -1, 0]
PRIORS = np.array([0.2, 0.3, 0.5])

CASES: dict[str, Callable[[], Shared]] = {
    # Out-of-bag scores are computed for each member from X and y.
    "oob_alone": lambda: numbers(
        regression_forest(oob_score=True), {"n_estimators": OUT_OF_BAG}, frame(FEATURES)
    ),
    "oob_scaled": lambda: out_of_bag(StandardScaler()),
    "oob_passthrough": lambda: out_of_bag("passthrough"),
    "oob_of_the_same_array": lambda: out_of_bag(FunctionTransformer(validate=True)),
    "oob_of_a_frame": lambda: out_of_bag(
        FunctionTransformer(validate=True), frame(FEATURES), pd.Series(TARGET)
    ),
    "oob_sparse": lambda: out_of_bag(
        "passthrough", sparse.csr_matrix(np.where(FEATURES > 0, FEATURES, 0))
    ),
    "oob_weighted": lambda: out_of_bag(
        StandardScaler(), fit_params={"own__sample_weight": WEIGHTS}
    ),
    "oob_several_outputs": lambda: out_of_bag(
        StandardScaler(), y=np.column_stack([TARGET, FEATURES[:, 1]])
    ),
    "oob_class_weight": lambda: classes(
        after(MinMaxScaler(), forest(oob_score=True, class_weight=BY_CLASS)),
        own(n_estimators=OUT_OF_BAG),
    ),
    "oob_after_work_in_place": lambda: out_of_bag(FunctionTransformer(double)),
    "oob_of_a_bag": lambda: classes(
        BaggingClassifier(random_state=0, oob_score=True), {"n_estimators": TREES}
    ),
    # Each rule, with attributes that members share.
    "initial_estimator": lambda: numbers(
        GradientBoostingRegressor(random_state=0, init=LinearRegression()),
        {"n_estimators": TREES},
    ),
    "initial_estimator_after_a_step": lambda: classes(
        after(
            StandardScaler(),
            GradientBoostingClassifier(random_state=0, init=GaussianNB(priors=PRIORS)),
        ),
        own(n_estimators=TREES),
    ),
    "random_stages": lambda: numbers(
        GradientBoostingRegressor(random_state=0, subsample=0.5, n_iter_no_change=2),
        {"n_estimators": TREES},
    ),
    "monotonic_rounds": lambda: numbers(
        HistGradientBoostingRegressor(
            random_state=0, min_samples_leaf=3, monotonic_cst=MONOTONIC, max_features=0.5
        ),
        {"max_iter": TREES},
        fit_params={"sample_weight": WEIGHTS},
    ),
    "weighted_rounds": lambda: classes(
        after(
            StandardScaler(),
            HistGradientBoostingClassifier(
                random_state=0, min_samples_leaf=3, class_weight=BY_CLASS
            ),
        ),
        own(max_iter=TREES),
    ),
    "boosted_trees": lambda: numbers(
        after(
            StandardScaler(),
            AdaBoostRegressor(DecisionTreeRegressor(max_depth=2), random_state=0),
        ),
        own(n_estimators=TREES),
    ),
    "bag_of_pipelines": lambda: classes(
        BaggingClassifier(after(StandardScaler(), SVC()), random_state=0, max_samples=0.5),
        {"n_estimators": TREES},
    ),
    "bag_of_neighbours": lambda: numbers(
        BaggingRegressor(KNeighborsRegressor(2, algorithm="kd_tree"), random_state=0),
        {"n_estimators": TREES},
    ),
    "monotonic_trees": lambda: numbers(
        ExtraTreesRegressor(random_state=0, monotonic_cst=MONOTONIC), {"n_estimators": TREES}
    ),
    "class_weight_in_the_grid": lambda: classes(
        forest(), {"n_estimators": TREES, "class_weight": [BY_CLASS, None]}
    ),
    "warm_start": lambda: numbers(regression_forest(warm_start=True), {"n_estimators": TREES}),
    "pruned": lambda: classes(
        DecisionTreeClassifier(random_state=0, class_weight=BY_CLASS),
        {"ccp_alpha": [0.0, 0.01, 0.02]},
        fit_params={"sample_weight": WEIGHTS},
    ),
    "pruned_monotonic": lambda: numbers(
        after(StandardScaler(), DecisionTreeRegressor(random_state=0, monotonic_cst=MONOTONIC)),
        own(ccp_alpha=[0.0, 0.05, 0.2]),
    ),
    "kernel": lambda: classes(
        SVC(kernel="linear", class_weight=BY_CLASS), {"gamma": [0.1, "auto"], "degree": [2, 3]}
    ),
    "kernel_weighted": lambda: numbers(
        SVR(), {"coef0": [0.0, 1.0]}, fit_params={"sample_weight": WEIGHTS}
    ),
    "smoothing": lambda: classes(GaussianNB(priors=PRIORS), {"var_smoothing": [1e-9, 0.1, 1.0]}),
    "smoothing_after_nothing": lambda: classes(
        after(None, GaussianNB()), own(var_smoothing=[1e-9, 0.1, 1.0]), FEATURES.astype("f4")
    ),
    # Equal candidates of classes that store samples, priors or weights.
    "neighbours": lambda: twice(KNeighborsRegressor(algorithm="brute"), y=TARGET, n_neighbors=3),
    "neighbours_in_a_tree": lambda: twice(KNeighborsClassifier(algorithm="kd_tree"), n_neighbors=3),
    "neighbours_after_a_step": lambda: twice(
        after(StandardScaler(), KNeighborsRegressor(algorithm="kd_tree")),
        y=TARGET,
        own__n_neighbors=3,
    ),
    "linear_discriminant": lambda: twice(LinearDiscriminantAnalysis(priors=PRIORS), tol=1e-4),
    "quadratic_discriminant": lambda: twice(QuadraticDiscriminantAnalysis(priors=PRIORS), tol=1e-4),
    "counts": lambda: twice(MultinomialNB(class_prior=PRIORS), np.abs(FEATURES), alpha=1.0),
    "margins": lambda: twice(
        after(StandardScaler(), LinearSVC(random_state=0, class_weight=BY_CLASS)), own__C=1.0
    ),
    # Pipeline steps.
    "features": lambda: classes(
        after(SelectKBest(f_classif), GaussianNB()),
        {"first__k": [1, 2], **own(var_smoothing=[1e-9, 0.1])},
    ),
    "features_of_shorter_and_longer_lines": features_of_shorter_and_longer_lines,
    "kept_by_shorter_and_longer_lines": kept_by_shorter_and_longer_lines,
    "work_in_place_after_a_step": lambda: numbers(
        after(StandardScaler(), regression_forest(), FunctionTransformer(double)),
        own(n_estimators=TREES),
    ),
    "work_in_place_in_a_union": lambda: numbers(
        after(
            FeatureUnion([("a", FunctionTransformer(double)), ("b", StandardScaler())]),
            regression_forest(),
        ),
        own(n_estimators=TREES),
    ),
    "no_copy": lambda: numbers(
        after(StandardScaler(copy=False), regression_forest()), own(n_estimators=TREES)
    ),
    "one_object_in_two_steps": one_object_in_two_steps,
    "union_weights": lambda: classes(after(UNION, forest()), own(n_estimators=TREES)),
    "union_weights_in_the_grid": lambda: classes(
        after(UNION, GaussianNB()),
        {"first__transformer_weights": [{"a": 2.0}, None], **own(var_smoothing=[1e-9, 0.1])},
    ),
    "remainder": lambda: classes(after(REMAINDER, forest()), own(n_estimators=TREES)),
    "output_is_a_frame": lambda: classes(
        after(StandardScaler(), forest()).set_output(transform="pandas"),
        own(n_estimators=TREES),
        frame(FEATURES),
    ),
    # Meta-estimators, and the user's own estimators.
    "target": lambda: numbers(
        TransformedTargetRegressor(regression_forest(), transformer=StandardScaler()),
        {"regressor__n_estimators": TREES},
    ),
    "target_last": lambda: numbers(
        after(StandardScaler(), TransformedTargetRegressor(Ridge())),
        own(regressor__alpha=[0.1, 1.0]),
    ),
    "voting": lambda: classes(
        after(StandardScaler(), VotingClassifier(VOTERS)), own(a__n_estimators=[3, 4])
    ),
    "stacking": lambda: classes(
        after(StandardScaler(), StackingClassifier(VOTERS, cv=2)), own(passthrough=[True, False])
    ),
    "calibrated": lambda: classes(
        after(StandardScaler(), CalibratedClassifierCV(GaussianNB(), cv=2)),
        own(method=["sigmoid", "isotonic"]),
    ),
    "several_outputs": lambda: numbers(
        after(StandardScaler(), MultiOutputRegressor(regression_forest())),
        own(estimator__n_estimators=[2, 3]),
        y=np.column_stack([TARGET, FEATURES[:, 1]]),
    ),
    "one_against_the_rest": lambda: classes(
        after(StandardScaler(), OneVsRestClassifier(LogisticRegression())),
        own(estimator__C=[0.1, 1.0]),
    ),
    "subclass": lambda: classes(
        after(StandardScaler(), Writing(random_state=0)), own(n_estimators=TREES)
    ),
    "subclass_of_a_tree": lambda: numbers(
        after(MinMaxScaler(), WritingTree(random_state=0)), own(ccp_alpha=[0.0, 0.1])
    ),
}
NEVER_SHARED = {
    "oob_after_work_in_place",
    "oob_of_a_bag",
    "warm_start",
    "work_in_place_in_a_union",
    "no_copy",
    "target",
}
GROUPED_UNLESS_Y_IS_GIVEN_AWAY = ["neighbours", "neighbours_after_a_step", "bag_of_neighbours"]
GROUPED_UNLESS_LOOKED_AT = ["initial_estimator", "random_stages", "kernel"]


MADE_WITH_OTHERS = {
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.feature_extraction.text.CountVectorizer",
    "sklearn.feature_extraction.text.HashingVectorizer",
    "sklearn.feature_extraction.text.TfidfVectorizer",
    "sklearn.pipeline.FeatureUnion",
    "sklearn.pipeline.Pipeline",
}
"""Transformers that contain others or are fitted with texts."""

ARGUMENTS: Mapping[str, dict[str, Any]] = {
    "GaussianRandomProjection": {"n_components": 2},
    "SparseRandomProjection": {"n_components": 2},
}


@pytest.fixture(autouse=True)
def _keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_everything(monkeypatch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("name", CASES)
def test_shared_fits_score_as_grid_search_does(name: str, scorer: str, tmp_path: Path) -> None:
    """Scores of shared fits have the bits of GridSearchCV's with every scorer."""
    results = assert_scores_of_grid_search(CASES[name], SCORERS[scorer], tmp_path)
    if scorer == "plain":
        shared = any(result.answered or result.prefix_kept for result in results)
        assert shared is (name not in NEVER_SHARED)


@pytest.mark.parametrize("name", GROUPED_UNLESS_Y_IS_GIVEN_AWAY + GROUPED_UNLESS_LOOKED_AT)
def test_attributes_that_cannot_be_copied_exactly_are_not_shared(name: str) -> None:
    """With a user's scorer, candidates whose attributes are X, y or a generator are not grouped."""
    grouped = {scorer for scorer in SCORERS if with_scorer(CASES[name](), SCORERS[scorer]).groups}
    metrics = {"metric_writes"} if name in GROUPED_UNLESS_LOOKED_AT else set()
    assert grouped == {"plain"} | metrics


def assert_scores_of_grid_search(
    make: Callable[[], Shared], scorer: Any, folder: Path
) -> list[FitResult]:
    """Compare shared fits with GridSearchCV and return their results."""
    theirs, ours = with_scorer(make(), scorer), with_scorer(make(), scorer)
    theirs.search.fit(theirs.X, theirs.y, **theirs.fit_params)
    results = ours.together(folder)
    assert [result.fit_error for result in results if result.fit_error] == []
    for column, part in (("test", "test_scores"), ("train", "train_scores")):
        found = [float(from_wire(getattr(result, part))) for result in results]
        expected = [
            theirs.search.cv_results_[f"split{split}_{column}_score"]
            for split in range(len(theirs.splits))
        ]
        assert np.array(found).tobytes() == np.concatenate(expected).tobytes(), column
    return results


def with_scorer(shared: Shared, scorer: Any) -> Shared:
    """Return the search with another scorer, which gets GridSearchCV's weights."""
    shared.scoring = scorer
    shared.__post_init__()
    routed = shared.search._get_routed_params_for_fit(dict(shared.fit_params))
    shared.score_params = dict(routed.scorer.score)
    return shared


@pytest.mark.parametrize(
    "name", ["oob_scaled", "smoothing_after_nothing", "kept_by_shorter_and_longer_lines"]
)
def test_members_have_as_many_attributes_as_a_separate_fit(name: str, tmp_path: Path) -> None:
    """A scorer that counts attributes finds the same number as after a separate fit."""
    assert_scores_of_grid_search(CASES[name], counts_attributes, tmp_path)


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_a_patched_class_is_fitted_separately(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patched class of scikit-learn is not shared."""
    original = getattr(RandomForestClassifier, method)

    def writing(self: Any, X: Any, *rest: Any, **more: Any) -> Any:
        found = original(self, X, *rest, **more)
        X *= -1
        return found

    def make() -> Shared:
        return classes(forest(), {"n_estimators": TREES})

    assert make().groups == [{0, 1, 2}]
    monkeypatch.setattr(RandomForestClassifier, method, writing)
    assert make().groups == []
    assert_scores_of_grid_search(make, None, tmp_path)


@pytest.mark.parametrize("name", sorted(PREDICTORS | TRANSFORMERS - MADE_WITH_OTHERS))
@pytest.mark.filterwarnings("ignore")
def test_shared_estimators_keep_no_samples(name: str) -> None:
    """Attributes share no memory with X and y, except for listed classes."""
    module, _, kind = name.rpartition(".")
    estimator = getattr(importlib.import_module(module), kind)(**ARGUMENTS.get(kind, {}))
    X, y = np.abs(FEATURES), CLASSES.copy() if is_classifier(estimator) else TARGET.copy()
    estimator.fit(X, y)
    found = Description(estimator, X=X, y=y).lines
    assert any("['X']" in line or "['y']" in line for line in found) is (name in KEEPS_SAMPLES)
