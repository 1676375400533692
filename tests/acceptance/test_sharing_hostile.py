"""Sharing stays unnoticed although users' code writes, fails or warns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.acceptance.searches import flowers, patients
from tests.acceptance.sharing import Shared, different

pytestmark = pytest.mark.sklearn_versions

WARNS_OF_MANY_CLASSES = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 7)
"""True for releases that warn when more than half of the labels are unique."""


@pytest.fixture(autouse=True)
def _keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prefixes regardless of their fit time."""
    monkeypatch.setattr("skygrid.worker.sharing.prefix_store.WORTH_SECONDS", 0.0)


# ---- scorers that write into their arguments -----------------------------------------------------


def forgets_a_tree(estimator: Any, X: Any, y: Any) -> float:
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    last.estimators_[0].tree_.value[:] *= 0.5
    last.estimators_.pop()
    return float(estimator.predict_proba(X).sum() + np.mean(estimator.predict(X) == y))


def learns_on(estimator: Any, X: Any, y: Any) -> float:
    estimator.partial_fit(X, y)
    return float(estimator.predict_proba(X)[:, 0].sum())


def spoils_neighbours(estimator: Any, X: Any, y: Any) -> float:
    before = estimator.score(X, y)
    estimator._fit_X[:] = 0.0
    return float(before)


def moves_the_scaler(estimator: Any, X: Any, y: Any) -> float:
    estimator[0].mean_ += 1.0
    return float(estimator.predict_proba(X)[:, 0].sum())


def spoils_the_data(estimator: Any, X: Any, y: Any) -> float:
    found = float(estimator.score(X, y) + getattr(estimator, "oob_score_", 0.0))
    X *= -1.0
    y[:] = 0
    return found


def spoils_the_labels(y_true: Any, y_pred: Any) -> float:
    found = float(accuracy_score(y_true, y_pred))
    y_true[:] = y_pred
    return found


def fits_again(estimator: Any, X: Any, y: Any) -> float:
    return float(estimator.fit(X[::2], y[::2]).score(X, y))


def sets_parameters(estimator: Any, X: Any, y: Any) -> float:
    found = float(estimator.score(X, y))
    estimator.set_params(n_estimators=1, warm_start=True)
    return found


# ---- estimators ----------------------------------------------------------------------------------


class Complaining(ClassifierMixin, BaseEstimator):
    """Warns at its caller, or `level` frames above."""

    def __init__(self, level: int = 1) -> None:
        self.level = level

    def fit(self, X: Any, y: Any) -> Complaining:
        warnings.warn("I am called", UserWarning, stacklevel=self.level)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.where(X[:, 0] > self.level / 10, *self.classes_[:2])


class Failing(ClassifierMixin, BaseEstimator):
    """Fails above level 1."""

    def __init__(self, level: int = 1) -> None:
        self.level = level

    def fit(self, X: Any, y: Any) -> Failing:
        if self.level > 1:
            raise RuntimeError(f"level {self.level} of {X.shape}")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.repeat(self.classes_[:1], len(X))


class OwnPipeline(Pipeline):
    """A subclass, which may do anything."""


class Writing(ClassifierMixin, BaseEstimator):
    """Writes into the X of fit and predict, and depends on it."""

    def __init__(self, level: int = 1) -> None:
        self.level = level

    def fit(self, X: Any, y: Any) -> Writing:
        self.classes_ = np.unique(y)
        self.sum_ = float(X.sum())
        X *= self.level
        return self

    def predict(self, X: Any) -> Any:
        X += self.sum_
        return self.classes_[(np.abs(X).sum(axis=1) * self.level).astype(int) % 2]


def numbers() -> tuple[Any, Any]:
    return flowers()


def two_classes() -> tuple[Any, Any]:
    X, y = flowers()
    return X, (y > 0).astype(int)


def table() -> tuple[Any, Any]:
    """Return a frame with numbers and categories."""
    X = pd.DataFrame(flowers()[0], columns=list("abcd"))
    X["kind"] = pd.Categorical(["red", "green", "blue", "green", "red"] * 10)
    return X, flowers()[1]


def rare_names() -> tuple[Any, Any]:
    """Return a column of names, one of which occurs in a single sample."""
    names = np.array(["red", "green", "blue", "green", "red"] * 10, dtype=object)
    names[1] = "violet"
    return names[:, None], np.arange(50) % 2


def of(
    estimator: Any, grid: Any, data: Callable[[], Any] = numbers, scoring: Any = None, **more: Any
) -> Shared:
    return Shared(estimator, grid, *data(), scoring, True, **more)


def forest(**settings: Any) -> Any:
    return RandomForestClassifier(random_state=0, **settings)


TREES = {"n_estimators": [3, 6, 4]}


@dataclass(frozen=True)
class Case:
    """A search that tries to reveal sharing."""

    name: str
    promise: str
    make: Callable[[], Shared]
    shares: bool


def cases(shares: bool, **table: tuple[str, Callable[[], Shared]]) -> list[Any]:
    return [
        pytest.param(Case(name, promise, make, shares), id=name)
        for name, (promise, make) in table.items()
    ]


SHARED = cases(
    True,
    scorer_spoils_trees=(
        "A scorer that halves a tree and drops another one spoils its own member only.",
        lambda: of(forest(), TREES, scoring=forgets_a_tree),
    ),
    scorer_spoils_trees_in_a_pipeline=(
        "A scorer that spoils trees after a step spoils its own member only.",
        lambda: of(
            make_pipeline(StandardScaler(), forest()),
            {"randomforestclassifier__n_estimators": [3, 6, 4]},
            scoring=forgets_a_tree,
        ),
    ),
    scorer_learns_on=(
        "A scorer that calls partial_fit changes its own member only.",
        lambda: of(GaussianNB(), {"var_smoothing": [1e-9, 0.1, 1.0]}, scoring=learns_on),
    ),
    scorer_moves_a_step=(
        "A scorer that writes into an attribute of a step.",
        lambda: of(
            make_pipeline(StandardScaler(), GaussianNB()),
            {"gaussiannb__var_smoothing": [1e-9, 0.1, 1.0]},
            scoring=moves_the_scaler,
        ),
    ),
    scorer_spoils_the_data=(
        "A scorer that writes into X and y, before out-of-bag scores of further members.",
        lambda: of(
            forest(oob_score=True), {"n_estimators": [40, 50, 45]}, scoring=spoils_the_data
        ),
    ),
    scorer_fits_again=(
        "A scorer that calls fit.",
        lambda: of(DecisionTreeClassifier(random_state=0), {"ccp_alpha": [0.0, 0.05, 0.1]},
                   scoring=fits_again),
    ),
    scorer_sets_parameters=(
        "A scorer that changes parameters of its estimator.",
        lambda: of(forest(), TREES, scoring=sets_parameters),
    ),
    metric_spoils_the_labels=(
        "A metric that writes into the labels that it is given.",
        lambda: of(
            GaussianNB(),
            {"var_smoothing": [1e-9, 1e-8, 0.5]},
            scoring=make_scorer(spoils_the_labels),
        ),
    ),
    metrics_that_warn=(
        "Members with equal predictions, and metrics that warn.",
        lambda: of(
            GaussianNB(),
            {"var_smoothing": [1e5, 1e6, 1e-9, 1e-8]},
            scoring=["precision_macro", "accuracy", "neg_log_loss", "roc_auc_ovr"],
        ),
    ),
    own_metric=(
        "A metric of the user's own.",
        lambda: of(forest(), TREES, scoring=make_scorer(accuracy_score, normalize=False)),
    ),
    class_weight=(
        "Balanced classes, with out-of-bag scores.",
        lambda: of(
            forest(oob_score=True, class_weight="balanced"), {"n_estimators": [40, 50, 45]}
        ),
    ),
    class_weight_of_each_tree=(
        "Weights from each tree's own sample.",
        lambda: of(forest(class_weight="balanced_subsample"), TREES),
    ),
    class_weight_by_name=(
        "A dict of weights, in the grid.",
        lambda: of(forest(), TREES | {"class_weight": [{0: 1, 1: 2, 2: 1.5}, None]}),
    ),
    words_as_classes=(
        "Classes that are words.",
        lambda: of(
            GradientBoostingClassifier(random_state=0),
            {"n_estimators": [2, 4]},
            lambda: (numbers()[0], np.array(["x", "y", "z"], dtype=object)[numbers()[1]]),
        ),
    ),
    several_outputs=(
        "Three numbers to predict at once.",
        lambda: of(
            RandomForestRegressor(random_state=0, oob_score=True),
            {"n_estimators": [40, 50, 45]},
            lambda: (patients()[0], np.column_stack([patients()[1], patients()[0][:, :2]])),
        ),
    ),
    several_labels=(
        "Several labels for each sample, and a tree that is pruned.",
        lambda: of(
            DecisionTreeClassifier(random_state=0),
            {"ccp_alpha": [0.0, 0.01, 0.05]},
            lambda: (numbers()[0], np.column_stack([numbers()[1] > 0, numbers()[1] > 1])),
            "f1_macro",
        ),
    ),
    monotonic=(
        "Constraints on a tree that is pruned.",
        lambda: of(
            DecisionTreeRegressor(random_state=0, monotonic_cst=[1] + [0] * 9),
            {"ccp_alpha": [0.0, 10.0, 100.0]},
            patients,
        ),
    ),
    missing=(
        "Gaps in X, for trees that take them.",
        lambda: of(forest(), TREES, lambda: (
            np.where(numbers()[0] > 5.5, np.nan, numbers()[0]), numbers()[1])),
    ),
    categories=(
        "A frame with categories, for boosting that takes them.",
        lambda: of(
            HistGradientBoostingClassifier(
                random_state=0, categorical_features="from_dtype", min_samples_leaf=3
            ),
            {"max_iter": [2, 5, 3]},
            table,
        ),
    ),
    categories_in_columns=(
        "Categories through a ColumnTransformer whose output is a frame.",
        lambda: of(
            make_pipeline(
                ColumnTransformer(
                    [("k", OrdinalEncoder(), ["kind"])], remainder="passthrough"
                ).set_output(transform="pandas"),
                forest(),
            ),
            {"randomforestclassifier__n_estimators": [2, 4]},
            table,
        ),
    ),
    sparse_out_of_bag=(
        "Sparse X with out-of-bag scores.",
        lambda: of(
            forest(oob_score=True),
            {"n_estimators": [40, 50]},
            lambda: (sparse.csc_matrix(np.where(numbers()[0] > 2, numbers()[0], 0)), numbers()[1]),
        ),
    ),
    sparse_after_a_step=(
        "A sparse step before a group and before others.",
        lambda: of(
            Pipeline([("hot", OneHotEncoder(handle_unknown="ignore")), ("own", SVC())]),
            [
                {"own": [forest()], "own__n_estimators": [2, 4]},
                {"own__C": [1, 2]},
            ],
            lambda: (np.round(numbers()[0]), numbers()[1]),
        ),
    ),
    several_jobs=(
        "An estimator with jobs and a progress report of its own.",
        lambda: of(forest(n_jobs=2, verbose=1), TREES),
    ),
    weights_of_the_last_step=(
        "Sample weights for the last step alone.",
        lambda: of(
            Pipeline([("scale", StandardScaler()), ("own", forest())]),
            {"own__n_estimators": [2, 4]},
            fit_params={"own__sample_weight": np.linspace(0.1, 1, 50)},
        ),
    ),
    kinds_of_counts=(
        "The same number of trees as int and as NumPy's.",
        lambda: of(forest(), {"n_estimators": [4, np.int64(4), np.int32(4), 2]}),
    ),
    early_end=(
        "Boosting that ends before its number of rounds.",
        lambda: of(
            GradientBoostingClassifier(
                random_state=0, n_iter_no_change=1, validation_fraction=0.3, learning_rate=1.0
            ),
            {"n_estimators": [2, 50, 10]},
        ),
    ),
    bag_of_pipelines=(
        "A bag of pipelines.",
        lambda: of(
            BaggingClassifier(
                make_pipeline(StandardScaler(), SVC()), random_state=0, max_samples=0.5
            ),
            {"n_estimators": [2, 4]},
        ),
    ),
    features_last=(
        "A selection of features that is scored by itself.",
        lambda: of(
            make_pipeline(StandardScaler(), SelectKBest(f_classif)),
            {"selectkbest__k": [1, 2, 3]},
            scoring=lambda estimator, X, y: float(estimator.transform(X).sum()),
        ),
    ),
    warning_in_fit_and_transform=(
        "A kept step that warns in the fit and whenever it transforms.",
        lambda: of(
            make_pipeline(FunctionTransformer(np.log), MinMaxScaler(clip=True), forest()),
            {"randomforestclassifier__max_depth": [1, 2]},
            lambda: (np.where(numbers()[0] > 6, 0, numbers()[0]) + 1e-9, numbers()[1]),
            ["accuracy", "f1_macro"],
        ),
    ),
    complains_of_its_caller=(
        "The user's last step warns at its callers.",
        lambda: of(
            make_pipeline(StandardScaler(), Complaining()),
            {"complaining__level": [1, 2, 3]},
            two_classes,
        ),
    ),
    fails_after_kept_steps=(
        "The user's last step fails for some candidates.",
        lambda: of(
            make_pipeline(StandardScaler(), MinMaxScaler(), Failing()),
            {"failing__level": [1, 2, 1, 3]},
            error_score=-7,
        ),
    ),
    writes_into_everything=(
        "The user's last step writes into its arguments.",
        lambda: of(
            make_pipeline(StandardScaler(), PCA(3, svd_solver="full"), Writing()),
            {"writing__level": [1, 2, 3, 4]},
            two_classes,
            ["accuracy", "f1_macro"],
        ),
    ),
    the_same_part_twice=(
        "A union of the same step under two names.",
        lambda: of(
            make_pipeline(
                FeatureUnion([("a", StandardScaler()), ("b", StandardScaler())]), SVC()
            ),
            {"svc__C": [1, 2]},
        ),
    ),
    one_step_object_twice=(
        "One object in two places of a pipeline.",
        lambda: of(
            Pipeline([*[(name, step) for step in [StandardScaler()] for name in "ab"],
                      ("own", SVC())]),
            {"own__C": [1, 2]},
        ),
    ),
    calibrated=(
        "Steps before an estimator that holds another.",
        lambda: of(
            make_pipeline(StandardScaler(), CalibratedClassifierCV(GaussianNB(), cv=2)),
            {"calibratedclassifiercv__method": ["sigmoid", "isotonic"]},
        ),
    ),
)  # fmt: skip


ALONE = cases(
    False,
    generator=(
        "A random state that is an object.",
        lambda: of(
            make_pipeline(TruncatedSVD(2, random_state=np.random.RandomState(3)), SVC()),
            {"svc__C": [1, 2]},
        ),
    ),
    warm_start=(
        "warm_start=True by the user, in the grid.",
        lambda: of(forest(warm_start=True), TREES),
    ),
    cache=(
        "A pipeline that caches, within another.",
        lambda: of(
            Pipeline([
                ("inner", Pipeline([("s", StandardScaler()), ("m", MinMaxScaler())],
                                   memory="/nowhere/at/all")),
                ("own", SVC()),
            ]),
            {"own__C": [1, 2]},
        ),
    ),
    own_pipeline=(
        "A subclass of Pipeline.",
        lambda: of(
            OwnPipeline([("s", StandardScaler()), ("own", forest())]),
            {"own__n_estimators": [2, 4]},
        ),
    ),
    voting=(
        "A forest among voters.",
        lambda: of(
            VotingClassifier([("a", forest()), ("b", GaussianNB())]),
            {"a__n_estimators": [2, 4]},
        ),
    ),
    transformed_target=(
        "A pipeline within another estimator.",
        lambda: of(
            TransformedTargetRegressor(
                make_pipeline(StandardScaler(), ExtraTreesRegressor(random_state=0))
            ),
            {"regressor__extratreesregressor__n_estimators": [2, 4]},
            patients,
        ),
    ),
    early_stopping=(
        "Boosting with a validation set.",
        lambda: of(
            HistGradientBoostingClassifier(random_state=0, early_stopping=True),
            {"max_iter": [2, 4]},
        ),
    ),
    frames=(
        "Frames between the steps.",
        lambda: of(
            Pipeline([("s", StandardScaler()), ("own", SVC())]).set_output(transform="pandas"),
            {"own__C": [1, 2]},
            lambda: (table()[0][list("abcd")], table()[1]),
        ),
    ),
    unknown_name_in_the_test_set=(
        "A kept step that cannot transform one test set.",
        lambda: of(
            make_pipeline(OneHotEncoder(), LogisticRegression()),
            {"logisticregression__C": [0.1, 1.0]},
            rare_names,
            cv=[(np.arange(2, 50), np.arange(2))],
        ),
    ),
    mixed_up_steps=(
        "Invalid steps of a pipeline.",
        lambda: of(
            Pipeline([("a", StandardScaler()), ("own", SVC())]),
            {"a": [3, "nothing"], "own__C": [1, 2]},
        ),
    ),
    scorer_spoils_duplicates=(
        "A scorer that zeroes the samples in an estimator.",
        lambda: of(
            KNeighborsClassifier(algorithm="brute"),
            [{"n_neighbors": [3]}, {"n_neighbors": [3]}],
            scoring=spoils_neighbours,
        ),
    ),
    alpha_below_zero=(
        "Members that no fit accepts.",
        lambda: of(
            DecisionTreeClassifier(random_state=0), {"ccp_alpha": [-1.0, -2, np.nan]}
        ),
    ),
)  # fmt: skip


OF_MANY_CLASSES = cases(
    not WARNS_OF_MANY_CLASSES,
    metric_of_more_classes_than_warned_of=(
        "Nearly as many classes as samples: newer releases warn in every fit and score.",
        lambda: of(
            DecisionTreeClassifier(random_state=0),
            {"ccp_alpha": [0.0, 0.001, 0.002]},
            lambda: (numbers()[0], np.arange(len(numbers()[0])) % 24),
        ),
    ),
)


@pytest.mark.parametrize("case", SHARED + ALONE + OF_MANY_CLASSES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sharing_is_unnoticed(case: Case, tmp_path: Path, capfd: Any) -> None:
    """Scores, errors, tracebacks and warnings are those of separate fits."""
    shared = case.make()
    (tmp_path / "kept").mkdir()
    ours = shared.together(tmp_path / "kept")
    theirs = case.make().apart()
    capfd.readouterr()
    assert different(ours, theirs) == [], case.promise
    assert any(result.answered or result.prefix_kept for result in ours) == case.shares


@pytest.mark.parametrize("output", ["pandas", "default"])
def test_set_config_applies_to_kept_steps(output: str, tmp_path: Path) -> None:
    """`set_config(transform_output=...)` applies to kept steps too."""
    with sklearn.config_context(transform_output=output):
        shared = of(
            make_pipeline(StandardScaler(), PCA(2, svd_solver="full"), Ridge(alpha=1.0)),
            {"ridge__alpha": [0.5, 1.0]},
            lambda: (table()[0][list("abcd")], table()[1].astype(float)),
        )
        ours = shared.together(tmp_path)
        assert different(ours, shared.apart()) == []
    assert any(result.prefix_kept for result in ours) == (output == "default")


def test_unseeded_estimators_are_never_shared() -> None:
    """Unseeded estimators share neither first steps nor fits."""
    shared = of(
        make_pipeline(TruncatedSVD(2), RandomForestClassifier()),
        {"randomforestclassifier__n_estimators": [2, 2, 4]},
    )
    assert shared.groups == []
    assert set(shared.sharing.prefixes) == {-1}
