"""Estimators that contain others, use threads, warn or print give scikit-learn's answer."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.feature_selection import RFE
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tests.acceptance.doubles import (
    ChattyClassifier,
    Murmur,
    MurmuringClassifier,
    StubbornClassifier,
    ThresholdClassifier,
    TwoRounds,
    Whisper,
    own_score,
)
from tests.acceptance.searches import Job, Row, assert_same_answer, flowers, rows

pytestmark = pytest.mark.sklearn_versions


def grid(estimator: Any, space: Any, **options: Any) -> Job:
    return Job(GridSearchCV(estimator, space, **({"cv": 3} | options)), *flowers())


def members() -> Any:
    """Return two named estimators."""
    return [("tree", DecisionTreeClassifier(max_depth=2, random_state=0)), ("bayes", GaussianNB())]


def network(**options: Any) -> Any:
    return MLPClassifier((4,), random_state=1, max_iter=4, **options)


@rows(
    search_in_a_search=(
        "A search may be the estimator of a search.",
        lambda: grid(GridSearchCV(SVC(), {"C": [0.1, 1]}, cv=2), {"estimator__gamma": [0.1, 1]}),
    ),
    random_search_in_a_pipeline=(
        "A search may be a step of a pipeline.",
        lambda: grid(
            make_pipeline(
                StandardScaler(),
                RandomizedSearchCV(SVC(), {"C": [1, 2, 3]}, n_iter=2, cv=2, random_state=0),
            ),
            {"randomizedsearchcv__n_iter": [1, 2]},
        ),
    ),
    voting=(
        "Members with n_jobs=-1 are fitted in turn, with the same outcome.",
        lambda: grid(VotingClassifier(members(), n_jobs=-1), {"voting": ["hard", "soft"]}),
    ),
    voting_with_a_member_left_out=(
        "Members may be dropped.",
        lambda: grid(
            VotingClassifier(members()), {"tree": ["drop", SVC()], "weights": [None, (1, 2)]}
        ),
    ),
    stacking=(
        "A stack may pass its input on.",
        lambda: grid(
            StackingClassifier(members(), LogisticRegression(), cv=2, n_jobs=-1),
            {"passthrough": [True, False]},
        ),
    ),
    calibrated=(
        "Calibration has inner splits.",
        lambda: grid(
            CalibratedClassifierCV(LinearSVC(random_state=0), cv=2),
            {"method": ["sigmoid", "isotonic"]},
            scoring="neg_log_loss",
        ),
    ),
    one_vs_rest=(
        "One classifier for each class.",
        lambda: grid(OneVsRestClassifier(LinearSVC(), n_jobs=2), {"estimator__C": [0.1, 1]}),
    ),
    forest=(
        "A forest whose trees would grow in parallel.",
        lambda: grid(
            RandomForestClassifier(5, random_state=0, n_jobs=-1, oob_score=True, max_samples=0.9),
            {"max_depth": [1, 3]},
        ),
    ),
    histograms=(
        "Boosting that uses threads of its own.",
        lambda: grid(
            HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3, random_state=0),
            {"learning_rate": [0.1, 0.5], "early_stopping": [False, True]},
            cv=2,
        ),
    ),
    network=(
        "A network that stops early.",
        lambda: grid(network(early_stopping=True, n_iter_no_change=1), {"alpha": [1e-4, 1]}),
    ),
    elimination=(
        "Features that are eliminated one by one.",
        lambda: grid(RFE(LogisticRegression(max_iter=300)), {"n_features_to_select": [1, 3]}),
    ),
    path_within=(
        "An estimator that cross-validates by itself.",
        lambda: grid(
            LogisticRegressionCV(Cs=2, cv=2, max_iter=300, n_jobs=-1),
            {"fit_intercept": [True, False]},
        ),
    ),
    union=(
        "Transformers side by side.",
        lambda: grid(
            make_pipeline(
                FeatureUnion(
                    [("scaled", StandardScaler()), ("same", FunctionTransformer())], n_jobs=-1
                ),
                SVC(),
            ),
            {"featureunion__scaled": ["drop", StandardScaler(with_std=False)]},
        ),
    ),
)
def test_estimators(row: Row, cluster: Any, capfd: Any) -> None:
    """Estimators within estimators give scikit-learn's answer."""
    assert_same_answer(cluster, row, capfd)


def chatty(estimator: Any = None, *filters: Any, **options: Any) -> Job:
    estimator = ChattyClassifier() if estimator is None else estimator
    search = GridSearchCV(estimator, {"level": [1, 2]}, cv=3, **({"refit": False} | options))
    return Job(search, *flowers(), filters=filters)


@rows(
    convergence=(
        "A warning that every fit issues.",
        lambda: grid(LogisticRegression(max_iter=1), {"C": [0.1, 1]}),
    ),
    convergence_of_a_network=(
        "A warning of a network that is cut short.",
        lambda: grid(network(), {"alpha": [0.1, 1]}),
    ),
    all_kinds=("Warnings of all kinds, many times, from fit and score.", chatty),
    ignored=(
        "Ignored warnings are not issued.",
        lambda: chatty(None, ("ignore", ConvergenceWarning), ("ignore", Whisper)),
    ),
    all_ignored=("No warning is issued when all are ignored.", lambda: chatty(None, ("ignore",))),
    error=(
        "A warning turned into an error fails the fit.",
        lambda: chatty(None, ("error", Whisper)),
    ),
    error_of_one=(
        "A warning turned into an error fails some fits.",
        lambda: Job(
            GridSearchCV(LogisticRegression(), {"max_iter": [1, 500]}, cv=3),
            *flowers(),
            filters=[("error", ConvergenceWarning)],
        ),
    ),
    error_raised=(
        "With error_score='raise' a warning turned into an error is raised.",
        lambda: chatty(None, ("error", ConvergenceWarning), error_score="raise"),
    ),
    error_in_score=(
        "A warning in scoring fails the score.",
        lambda: chatty(None, ("error", RuntimeWarning)),
    ),
    estimators_own_filters=(
        "An estimator's own filters are stronger than the user's.",
        lambda: chatty(StubbornClassifier(), ("error", Whisper), scoring=own_score),
    ),
    verbose=("A verbose search.", lambda: chatty(verbose=1)),
    more_verbose=("A more verbose search.", lambda: chatty(verbose=2)),
    still_more_verbose=(
        "A still more verbose search.",
        lambda: chatty(verbose=3, return_train_score=True, scoring=own_score),
    ),
    most_verbose=("The most verbose search.", lambda: chatty(verbose=10)),
    verbose_halving=(
        "Verbose halving.",
        lambda: Job(
            HalvingGridSearchCV(
                DecisionTreeClassifier(random_state=0),
                {"max_depth": [1, 2, 3]},
                cv=2,
                factor=2,
                verbose=1,
                random_state=0,
            ),
            *flowers(),
        ),
    ),
    verbose_rounds=(
        "A verbose search class of the user's own.",
        lambda: Job(TwoRounds(ThresholdClassifier(), [1, 2], cv=2, verbose=1), *flowers()),
    ),
)
def test_warnings_and_messages(row: Row, cluster: Any, capfd: Any) -> None:
    """Warnings are those of scikit-learn, and nothing is printed to stdout."""
    assert_same_answer(cluster, row, capfd)


def test_each_warning_is_issued_once(cluster: Any) -> None:
    """A warning from one place is issued once, however many fits issue it."""
    search = GridSearchCV(ChattyClassifier(), {"level": [1, 2, 3]}, cv=3, refit=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cluster.fit(search, *flowers())
    texts = [str(note.message) for note in said]
    assert sorted(texts) == sorted(set(texts))


def test_a_warning_with_a_special_constructor_keeps_its_class(cluster: Any) -> None:
    """A warning whose constructor takes more than a text keeps its class."""
    search = GridSearchCV(MurmuringClassifier(), {"level": [1]}, cv=2, refit=False)
    with pytest.warns(Murmur, match="^level 1, volume 3$"):
        cluster.fit(search, *flowers())


def test_messages_go_to_stderr(cluster: Any, capfd: Any) -> None:
    """scikit-learn's messages of a verbose search are printed to stderr."""
    search = GridSearchCV(ThresholdClassifier(), {"level": [1, 2]}, cv=3, verbose=1)
    cluster.fit(search, *flowers())
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Fitting 3 folds for each of 2 candidates, totalling 6 fits" in printed.err
