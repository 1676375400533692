"""Every kind of search gives scikit-learn's answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn
from scipy.stats import loguniform, randint
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skygrid.errors import UsageError
from tests.acceptance.doubles import (
    ChattyClassifier,
    CopiedInTheMiddle,
    DoublingSearch,
    FailingClassifier,
    NothingToDo,
    SelfMadeSearch,
    ThresholdClassifier,
    TwoRounds,
    TwoRoundsInContext,
    TwoRoundsOutOfContext,
    no_candidate,
    own_score,
    second_candidate,
    two_scores,
)
from tests.acceptance.searches import Job, Row, assert_same_answer, flowers, patients, rows

pytestmark = pytest.mark.sklearn_versions

SVC_GRIDS = [{"kernel": ["linear"], "C": [1, 10]}, {"kernel": ["rbf"], "gamma": [0.1, 1.0]}]


def halving(kind: Any, space: Any, **options: Any) -> Job:
    """Return a seeded halving search over a tree."""
    tree = DecisionTreeClassifier(random_state=3)
    options = {"cv": 3, "factor": 2, "random_state": 1} | options
    return Job(kind(tree, space, **options), *flowers())


def two_rounds(kind: type[TwoRounds], estimator: Any = None, **options: Any) -> Job:
    estimator = ThresholdClassifier() if estimator is None else estimator
    return Job(kind(estimator, [1, 2, 3], cv=3, **options), *flowers())


@rows(
    grid=(
        "A grid is scored candidate by candidate.",
        lambda: Job(GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-2, 1]}), *flowers()),
    ),
    several_grids=(
        "Parameters that a candidate does not have are masked.",
        lambda: Job(GridSearchCV(SVC(), SVC_GRIDS, cv=3), *flowers()),
    ),
    train_scores=(
        "Training scores appear when they are asked for.",
        lambda: Job(
            GridSearchCV(SVC(), {"C": [0.1, 1]}, cv=3, return_train_score=True), *flowers()
        ),
    ),
    ties=(
        "Equal means share a rank, and the first of them is the best.",
        lambda: Job(GridSearchCV(SVC(), {"cache_size": [100, 200, 300]}, cv=3), *flowers()),
    ),
    one_candidate=(
        "An empty grid is one candidate without parameters.",
        lambda: Job(GridSearchCV(GaussianNB(), {}, cv=2), *flowers()),
    ),
    randomized=(
        "A seeded randomized search draws the same candidates.",
        lambda: Job(
            RandomizedSearchCV(SVC(), {"C": loguniform(0.1, 10)}, n_iter=4, cv=3, random_state=5),
            *flowers(),
        ),
    ),
    randomized_from_lists=(
        "Draws without replacement from lists, of several distributions, are the same.",
        lambda: Job(
            RandomizedSearchCV(
                KNeighborsClassifier(),
                [{"n_neighbors": [1, 3, 5], "p": [1, 2]}, {"leaf_size": randint(5, 9)}],
                n_iter=5,
                cv=3,
                random_state=np.random.RandomState(2),
            ),
            *flowers(),
        ),
    ),
    randomized_beyond_its_space=(
        "More iterations than candidates cause scikit-learn's warning.",
        lambda: Job(
            RandomizedSearchCV(SVC(), {"C": [1, 2]}, n_iter=9, cv=3, random_state=0), *flowers()
        ),
    ),
    halving_grid=(
        "Halving by samples keeps its iterations, resources and survivors.",
        lambda: halving(HalvingGridSearchCV, {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 4]}),
    ),
    halving_random=(
        "Randomized halving draws, halves and ends the same.",
        lambda: halving(
            HalvingRandomSearchCV, {"max_depth": randint(1, 9)}, n_candidates=6, min_resources=12
        ),
    ),
    halving_random_exhaust=(
        "Randomized halving computes its number of candidates.",
        lambda: halving(
            HalvingRandomSearchCV, {"ccp_alpha": loguniform(1e-3, 1)}, min_resources=12, factor=3
        ),
    ),
    halving_estimators=(
        "Halving by an estimator parameter sets that parameter.",
        lambda: Job(
            HalvingGridSearchCV(
                RandomForestClassifier(random_state=0),
                {"max_depth": [1, 3]},
                resource="n_estimators",
                max_resources=8,
                min_resources=2,
                factor=2,
                cv=KFold(3, shuffle=True, random_state=4),
                return_train_score=False,
                random_state=0,
            ),
            *flowers(),
        ),
    ),
    halving_aggressive=(
        "Aggressive elimination ends the same.",
        lambda: halving(
            HalvingGridSearchCV,
            {"max_depth": [1, 2, 3, 4, 5]},
            aggressive_elimination=True,
            max_resources=36,
        ),
    ),
    halving_without_seed_for_unseeded_splits=(
        "Halving refuses splits that change from call to call.",
        lambda: halving(HalvingGridSearchCV, {"max_depth": [1, 2]}, cv=KFold(3, shuffle=True)),
    ),
    two_rounds=(
        "A search class of the user runs in rounds and adds results.",
        lambda: two_rounds(TwoRounds),
    ),
    two_rounds_in_context=(
        "A search class that passes on the callback context runs in rounds.",
        lambda: two_rounds(TwoRoundsInContext),
    ),
    two_rounds_out_of_context=(
        "A search class that drops the callback context runs in rounds.",
        lambda: two_rounds(TwoRoundsOutOfContext),
    ),
    two_rounds_that_fail=(
        "Tracebacks are the same for a search class without callback context.",
        lambda: two_rounds(TwoRounds, FailingClassifier()),
    ),
    two_rounds_in_context_that_fail=(
        "Tracebacks are the same for a search class that passes on the context.",
        lambda: two_rounds(TwoRoundsInContext, FailingClassifier()),
    ),
    two_rounds_out_of_context_that_fail=(
        "Tracebacks are the same for a search class that drops the context.",
        lambda: two_rounds(TwoRoundsOutOfContext, FailingClassifier()),
    ),
    copied_in_the_middle=(
        "A search may be copied while it is fitted.",
        lambda: two_rounds(CopiedInTheMiddle),
    ),
    fit_overridden=(
        "An overridden fit that calls super() runs completely.",
        lambda: Job(DoublingSearch(SVC(), {"C": [1, 2]}, cv=3), *flowers()),
    ),
    refit_off=(
        "Without a refit there are a best index, score and parameters, but no estimator.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1, 2]}, cv=3, refit=False), *flowers()),
    ),
    refit_chosen_by_a_function=(
        "A refit function chooses the candidate, and there is no best score.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1, 2]}, cv=3, refit=second_candidate), *flowers()),
    ),
    refit_chosen_by_a_lambda=(
        "A refit function that cannot be imported runs on the driver.",
        lambda: Job(
            GridSearchCV(SVC(), {"C": [1, 2]}, cv=3, refit=lambda results: np.int64(1)), *flowers()
        ),
    ),
    refit_chosen_out_of_range=(
        "A refit function that returns an invalid index is an error.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1, 2]}, cv=3, refit=no_candidate), *flowers()),
    ),
    refit_by_name=(
        "One of several scorers chooses the best candidate.",
        lambda: Job(
            GridSearchCV(
                SVC(),
                {"C": [0.01, 1]},
                cv=3,
                scoring=["accuracy", "f1_macro"],
                refit="f1_macro",
                return_train_score=True,
            ),
            *flowers(),
        ),
    ),
    refit_off_for_several_scorers=(
        "Several scorers without a refit give no best candidate.",
        lambda: Job(
            GridSearchCV(SVC(), {"C": [1]}, scoring=("accuracy", "f1_macro"), refit=False),
            *flowers(),
        ),
    ),
    refit_function_for_several_scorers=(
        "Several scorers work with a refit function.",
        lambda: Job(
            GridSearchCV(
                SVC(),
                {"C": [1, 2]},
                scoring={"own": own_score, "accuracy": "accuracy"},
                refit=second_candidate,
            ),
            *flowers(),
        ),
    ),
    refit_missing_for_several_scorers=(
        "Several scorers require a refit by name.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1]}, scoring=["accuracy", "f1_macro"]), *flowers()),
    ),
    refit_missing_for_a_dict_of_scores=(
        "A scorer that returns several scores requires a refit by name.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1]}, cv=3, scoring=two_scores), *flowers()),
    ),
    default_scorer_of_a_regressor=(
        "Without scoring the estimator scores itself.",
        lambda: Job(GridSearchCV(Ridge(), {"alpha": [0.1, 1, 10]}, cv=4), *patients()),
    ),
    n_jobs=(
        "n_jobs and pre_dispatch of the search have no effect.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1, 2]}, cv=3, n_jobs=1, pre_dispatch=1), *flowers()),
    ),
    no_candidates=(
        "A search without candidates is an error.",
        lambda: two_rounds(NothingToDo),
    ),
    empty_values=(
        "A parameter without values is refused.",
        lambda: Job(GridSearchCV(SVC(), {"C": []}), *flowers()),
    ),
    unknown_parameter=(
        "A parameter that the estimator does not have is named.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1], "Gamma": [1]}, cv=3), *flowers()),
    ),
    unknown_scorer=(
        "An unknown scorer is named.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1]}, scoring="acuracy"), *flowers()),
    ),
    invalid_setting=(
        "An invalid setting of the search is named.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1]}, error_score="rise"), *flowers()),
    ),
    invalid_value=(
        "A value that the estimator refuses fails its fits.",
        lambda: Job(GridSearchCV(SVC(), {"C": [-1, 1]}, cv=3), *flowers()),
    ),
    lengths_differ=(
        "X and y of different lengths are refused.",
        lambda: Job(GridSearchCV(SVC(), {"C": [1]}), flowers()[0], flowers()[1][:-1]),
    ),
    fit_parameter_unknown=(
        "A fit parameter that the estimator does not take fails every fit.",
        lambda: Job(
            GridSearchCV(LogisticRegression(), {"C": [1]}, cv=2), *flowers(), {"wieghts": 1}
        ),
    ),
)
def test_kinds_of_searches(row: Row, cluster: Any, capfd: Any) -> None:
    """Every kind of search gives scikit-learn's answer."""
    assert_same_answer(cluster, row, capfd)


def test_a_second_fit_is_like_the_first(cluster: Any) -> None:
    """A second fit of a search gives the same scores, by skygrid and by scikit-learn."""
    X, y = flowers()
    search = GridSearchCV(SVC(), {"C": [0.01, 1]}, cv=3)
    first = cluster.fit(search, X, y).cv_results_["mean_test_score"].tobytes()
    assert cluster.fit(search, X, y).cv_results_["mean_test_score"].tobytes() == first
    assert search.fit(X, y).cv_results_["mean_test_score"].tobytes() == first


def test_a_fit_that_never_calls_scikit_learns_is_refused(
    cluster: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """A search class that never calls scikit-learn's fit is refused by name, and fits nothing."""
    with pytest.raises(UsageError, match="a SelfMadeSearch, whose fit does not call super"):
        cluster.fit(SelfMadeSearch(ChattyClassifier(), {"level": [1]}), *flowers())
    assert not "".join(capfd.readouterr())


class TestCallbacks:
    """Fit callbacks of scikit-learn are refused by name before any fit."""

    pytestmark = pytest.mark.skipif(
        not hasattr(GridSearchCV, "set_callbacks"),
        reason=f"scikit-learn {sklearn.__version__} has no fit callbacks",
    )

    def refused(self, cluster: Any, search: Any) -> None:
        with pytest.raises(UsageError, match="Recorder"):
            cluster.fit(search, *flowers())
        assert not hasattr(search, "cv_results_")
        assert Recorder.calls == 0

    def test_on_the_search(self, cluster: Any) -> None:
        """A callback on the search is refused."""
        self.refused(cluster, GridSearchCV(SVC(), {"C": [1]}).set_callbacks(Recorder()))

    def test_on_the_estimator(self, cluster: Any) -> None:
        """A callback on the searched estimator is refused."""
        self.refused(cluster, GridSearchCV(listened_to(), {"C": [1]}))

    def test_nested(self, cluster: Any) -> None:
        """A callback on the estimator of a nested search is refused."""
        inner = GridSearchCV(listened_to(), {"C": [1]})
        self.refused(cluster, GridSearchCV(inner, {"cv": [2, 3]}))

    def test_in_the_grid(self, cluster: Any) -> None:
        """A callback on an estimator among the values is refused, in a list or an array."""
        values = np.empty(1, dtype=object)
        values[0] = listened_to()
        nested = GridSearchCV(SVC(), {"C": [1]})
        self.refused(cluster, GridSearchCV(nested, {"estimator": [listened_to()]}))
        self.refused(cluster, GridSearchCV(nested, {"estimator": values}))


class Recorder:
    """A fit callback that counts its calls."""

    calls = 0

    def setup(self, estimator: Any, context: Any) -> None:
        Recorder.calls += 1

    teardown = setup

    def on_fit_task_begin(self, estimator: Any, context: Any, **_: Any) -> None:
        Recorder.calls += 1

    on_fit_task_end = on_fit_task_begin


def listened_to() -> Any:
    """Return an estimator with a callback."""
    estimator = LogisticRegression()
    if not hasattr(estimator, "set_callbacks"):
        # Few estimators of scikit-learn support callbacks; a user's own may.
        estimator = GridSearchCV(LogisticRegression(), {"C": [1]})
    return estimator.set_callbacks(Recorder())
