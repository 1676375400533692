"""Nested cross-validation on a cluster is scikit-learn's, with all inner fits in one queue."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (unlocks HalvingGridSearchCV)
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import skygrid
from skygrid.errors import UsageError
from tests.acceptance.doubles import FailingClassifier, Refusal
from tests.acceptance.sameness import differences
from tests.command import gone, wait_for
from tests.processes import WAIT_SECONDS

pytestmark = pytest.mark.sklearn_versions

GROUPS = np.arange(120) % 8
TREE = DecisionTreeClassifier(random_state=0)
DEPTHS = {"max_depth": [1, 2, None]}
PIPE = make_pipeline(StandardScaler(), SelectKBest(), LogisticRegression())
TIMES = ("fit_time", "score_time")


def data() -> tuple[Any, Any]:
    return make_classification(n_samples=120, n_features=6, random_state=0)


def grid(estimator: Any = TREE, values: Any = None, **options: Any) -> GridSearchCV:
    return GridSearchCV(estimator, values or DEPTHS, **{"cv": 3, **options})


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "grid": (grid(), {"return_train_score": True}),
    "a grid with train scores and indices": (
        grid(return_train_score=True),
        {"return_indices": True},
    ),
    "shared fits": (
        grid(RandomForestClassifier(random_state=0), {"n_estimators": [2, 4], "max_depth": [2, 3]}),
        {},
    ),
    "shared first steps": (
        grid(PIPE, {"selectkbest__k": [2, 4], "logisticregression__C": [0.1, 1.0]}),
        {},
    ),
    "randomized with a seed": (
        RandomizedSearchCV(TREE, {"max_depth": range(1, 20)}, n_iter=4, random_state=3),
        {},
    ),
    "randomized with a generator": (
        RandomizedSearchCV(
            TREE, {"max_depth": range(1, 20)}, n_iter=4, random_state=np.random.RandomState(3)
        ),
        {},
    ),
    "halving": (
        HalvingGridSearchCV(
            TREE, {"max_depth": [1, 2, 3, 4, 5, 6]}, cv=3, min_resources=20, random_state=0
        ),
        {"cv": ShuffleSplit(3, random_state=0)},
    ),
    "a pipeline around a search": (make_pipeline(StandardScaler(), grid()), {"cv": 4}),
    "a search of a search": (grid(grid(cv=2), {"estimator__min_samples_leaf": [1, 5]}), {"cv": 2}),
    "several metrics": (
        grid(scoring=["accuracy", "roc_auc"], refit="roc_auc"),
        {"scoring": ["f1", "accuracy"]},
    ),
    "a callable scorer": (
        grid(scoring=lambda estimator, X, y: {"a": estimator.score(X, y)}, refit="a"),
        {},
    ),
    "no refit": (
        grid(refit=False),
        {"scoring": lambda estimator, X, y: len(estimator.cv_results_)},
    ),
    "groups": (grid(cv=KFold(3)), {"cv": GroupKFold(4), "groups": GROUPS}),
    "other numbers of splits": (grid(cv=ShuffleSplit(2, random_state=0)), {"cv": 6}),
    "some fits fail": (
        grid(FailingClassifier(), {"level": [1, 2, 3]}),
        {"cv": 3},
    ),
    "every fit fails": (grid(FailingClassifier(), {"level": [2]}), {"error_score": 0.5, "cv": 3}),
    "a fit raises": (
        grid(FailingClassifier(), {"level": [1, 2]}, error_score="raise"),
        {"cv": 3},
    ),
}


def quietly(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return the result of a call or its exception, and the categories of its warnings."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            result = call(*args, **options)
        except Exception as error:
            # A traceback within the text names the code that called the search, skygrid's here;
            # skygrid's note names the fit.
            text = str(error).partition("\nRaised by candidate")[0]
            result = type(error), [line for line in text.splitlines() if line[:1] not in ("", " ")]
    # NumPy casts uninitialised memory under the mask of a parameter, with a warning now and then.
    from_fits = [note for note in noted if not note.filename.endswith("numpy/ma/core.py")]
    return result, {note.category for note in from_fits}


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_scikit_learns(name: str, cluster: Any) -> None:
    """Scores, fitted searches, errors and kinds of warnings equal those of `cross_validate`."""
    search, options = CASES[name]
    X, y = data()
    asked = {"return_estimator": True, **options}
    ours, our_warnings = quietly(cluster.cross_validate, search, X, y, **asked)
    theirs, their_warnings = quietly(cross_validate, search, X, y, **asked)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for one in (ours, theirs):
            for time_name in TIMES:
                assert one.pop(time_name).shape == (len(one["estimator"]),)
    assert differences(ours, theirs) == []
    assert our_warnings == their_warnings
    assert differences(search, CASES[name][0]) == []


def test_an_error_of_one_fold_ends_all(cluster: Any) -> None:
    """With error_score="raise" the exception of a fold is raised, and the cluster stays ready."""
    X, y = data()
    search = grid(FailingClassifier(error="own"), {"level": [2]}, error_score="raise")
    with pytest.raises(Refusal):
        cluster.cross_validate(search, X, y, error_score="raise")
    again = cluster.cross_validate(grid(), X, y)
    np.testing.assert_array_equal(again["test_score"], cross_validate(grid(), X, y)["test_score"])


def test_inner_fits_of_all_folds_are_one_queue(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches with one round each make one round for all outer folds, with shared fits."""
    rounds: list[Any] = []
    engine = cluster._engine
    run_round = engine.run_round

    def note(plan: Any, *rest: Any) -> None:
        rounds.append(plan)
        run_round(plan, *rest)

    monkeypatch.setattr(engine, "run_round", note)
    X, y = data()
    forest = grid(RandomForestClassifier(random_state=0), {"n_estimators": [2, 4, 6]})
    cluster.cross_validate(forest, X, y, cv=5)
    (plan,) = rounds
    assert (len(plan.candidates), len(plan.splits)) == (3, 15)
    assert len(plan.sharing.groups) == 1


def test_a_joint_round_has_a_size(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds that are too many for one round run in several, with the same answer."""
    monkeypatch.setattr("skygrid.run.joint_rounds.MOST_TASKS", 20)
    X, y = data()
    ours = cluster.cross_validate(grid(), X, y)["test_score"]
    np.testing.assert_array_equal(ours, cross_validate(grid(), X, y)["test_score"])


def test_threads_share_a_cluster(cluster: Any) -> None:
    """Nested cross-validations and searches of several threads end with their own answers."""
    X, y = data()
    found: dict[int, Any] = {}

    def validate(number: int) -> None:
        found[number] = cluster.cross_validate(grid(), X, y, cv=2 + number)["test_score"]

    threads = [threading.Thread(target=validate, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    cluster.fit(grid(), X, y)
    for thread in threads:
        thread.join(WAIT_SECONDS)
    for number, scores in found.items():
        theirs = cross_validate(grid(), X, y, cv=2 + number)["test_score"]
        np.testing.assert_array_equal(scores, theirs)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("estimator", "options", "words"),
    [
        (TREE, {}, "holds no search"),
        (grid(), {"n_jobs": 2}, "the cluster decides on n_jobs"),
    ],
)
def test_unfit_arguments_are_named(estimator: Any, options: Any, words: str, cluster: Any) -> None:
    """An estimator without a search, and arguments that the cluster decides, are refused."""
    with pytest.raises(UsageError, match=words):
        cluster.cross_validate(estimator, *data(), **options)


PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
import skygrid


class Slow(DecisionTreeClassifier):
    def fit(self, X, y):
        Path(sys.argv[1]).touch()
        time.sleep(600)


def main():
    with skygrid.cluster(concurrency=2) as cluster:
        search = GridSearchCV(Slow(), {"max_depth": [1, 2]})
        cluster.cross_validate(search, *load_iris(return_X_y=True))


main()
"""


class WaitingClassifier(DecisionTreeClassifier):
    def __init__(self, mark: str = "", max_depth: int | None = None) -> None:
        super().__init__(max_depth=max_depth)
        self.mark = mark

    def fit(self, X: Any, y: Any) -> Any:
        Path(self.mark).touch()
        while True:
            time.sleep(0.05)


def test_a_cluster_that_is_closed_makes_no_failed_folds(tmp_path: Path) -> None:
    """An error of the nodes is raised; it does not become the NaN score of a fold."""
    mark = tmp_path / "mark"
    X, y = data()
    raised: list[BaseException] = []

    def validate() -> None:
        try:
            running.cross_validate(grid(WaitingClassifier(str(mark))), X, y)
        except UsageError as error:
            raised.append(error)

    with skygrid.cluster(on="local", nodes=1, concurrency=1) as running:
        thread = threading.Thread(target=validate)
        thread.start()
        wait_for(mark.exists, "a fit runs")
    thread.join(WAIT_SECONDS)
    assert "also in other threads" in str(raised[0])


def test_ctrl_c_ends_all_folds_and_nodes(tmp_path: Path) -> None:
    """Ctrl-C while inner fits run raises KeyboardInterrupt, and nothing is left."""
    import psutil

    program, running = tmp_path / "program.py", tmp_path / "running"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, program, running], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    wait_for(running.exists, "a fit runs")
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    wait_for(lambda: gone(family), "agents and slots end")
