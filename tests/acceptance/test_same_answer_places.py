"""Places of fits and start methods of slots do not change the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import skygrid
from tests.acceptance.doubles import (
    ChattyClassifier,
    CopiedInTheMiddle,
    FailingClassifier,
    LayoutClassifier,
    SplitFailingClassifier,
    TwoRounds,
    two_scores,
)
from tests.acceptance.prying import writes_into_everything
from tests.acceptance.searches import Job, Row, assert_same_answer, flowers

pytestmark = pytest.mark.sklearn_versions


def grid(estimator: Any, space: Any, **options: Any) -> Job:
    return Job(GridSearchCV(estimator, space, **({"cv": 3} | options)), *flowers())


def fortran() -> Job:
    X = np.asfortranarray(np.hstack([flowers()[0]] * 3))
    return Job(GridSearchCV(LayoutClassifier(), {"level": [1, 2]}, cv=3), X, flowers()[1])


def oob_forest() -> Any:
    return RandomForestClassifier(random_state=0, oob_score=True)


def halving() -> Job:
    tree = DecisionTreeClassifier(random_state=0)
    grid = {"max_depth": [1, 2, 3]}
    return Job(HalvingGridSearchCV(tree, grid, cv=2, factor=2, random_state=0), *flowers())


SUBSET: dict[str, tuple[str, Callable[[], Job]]] = {
    "grid": (
        "A plain grid.",
        lambda: grid(SVC(), {"C": [0.1, 1, 10], "gamma": [0.1, 1]}, return_train_score=True),
    ),
    "seeded": (
        "Seeds and states.",
        lambda: grid(
            RandomForestClassifier(3, random_state=np.random.RandomState(1)), {"max_depth": [1, 2]}
        ),
    ),
    "layout": ("Data in Fortran order.", fortran),
    "weights": (
        "Fit parameters.",
        lambda: Job(
            GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3),
            *flowers(),
            {"sample_weight": np.linspace(0.1, 1, 50)},
        ),
    ),
    "failures": (
        "Failing fits and scores of several names.",
        lambda: grid(FailingClassifier(), {"level": [1, 2, 3]}, scoring=two_scores, refit="share"),
    ),
    "raised": (
        "The error that is first in scikit-learn's order.",
        lambda: grid(SplitFailingClassifier(), {"level": [1, 4, 2, 3, 5, 6]}, error_score="raise"),
    ),
    "said": (
        "Warnings and prints.",
        lambda: grid(ChattyClassifier(), {"level": [1, 2]}, refit=False, verbose=2),
    ),
    "writing": (
        "A scorer that writes into X, y and the estimator, of candidates that share a fit.",
        lambda: grid(
            Pipeline([("gap", "passthrough"), ("own", oob_forest())]),
            {"own__n_estimators": [30, 34, 32]},
            scoring=writes_into_everything,
            return_train_score=True,
        ),
    ),
    "halving": ("Several rounds.", halving),
    "own_rounds": (
        "Several rounds of the user's own.",
        lambda: Job(TwoRounds(FailingClassifier(), [1, 2, 3], cv=2), *flowers()),
    ),
    "own_class": (
        "A class of the user's own that is copied in the middle.",
        lambda: Job(CopiedInTheMiddle(ChattyClassifier(), [1, 2], cv=2, refit=False), *flowers()),
    ),
}

PLACES: dict[str, dict[str, Any]] = {
    "spawned slots": {"nodes": 1, "concurrency": 1, "start_method": "spawn"},
    "two nodes": {"nodes": 2, "concurrency": 1},
    "three nodes of four slots": {"nodes": 3, "concurrency": 4},
}

SPAWNED = {"seeded", "layout", "failures", "said", "own_class", "writing"}
"""Searches for spawned slots; fewer, because a spawned slot imports scikit-learn first."""

COMBINATIONS = [
    (place, name)
    for place, options in PLACES.items()
    for name in SUBSET
    if "start_method" not in options or name in SPAWNED
]


@pytest.fixture(scope="module")
def place(request: Any, _doubles_by_value: None) -> Iterator[Any]:
    """Yield a cluster of the requested kind."""
    with skygrid.cluster(on="local", **PLACES[request.param]) as running:
        yield running


@pytest.mark.parametrize(("place", "name"), COMBINATIONS, indirect=["place"])
def test_places(place: Any, name: str, capfd: Any) -> None:
    """Spawned slots, several nodes and more slots than processors give the same answer."""
    assert_same_answer(place, Row(name, *SUBSET[name]), capfd)
