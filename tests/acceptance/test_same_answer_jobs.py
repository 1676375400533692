"""`n_jobs` within estimators: the answer is the one that joblib's workers would give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification, make_regression
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.exceptions import FitFailedWarning
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import skygrid
from tests.acceptance.doubles import InPlaceTransformer, JobsClassifier, LayoutClassifier
from tests.acceptance.searches import Job, Row, assert_same_answer, rows

pytestmark = pytest.mark.sklearn_versions


def numbers(estimator: Any, space: Any, **options: Any) -> Job:
    """Return a search on targets whose sums depend on the order of addition."""
    X, y = make_regression(80, 5, noise=7.0, random_state=1)
    return Job(GridSearchCV(estimator, space, **({"cv": 2} | options)), X, y)


def classes(estimator: Any, space: Any, **options: Any) -> Job:
    X, y = make_classification(90, 5, random_state=1)
    return Job(GridSearchCV(estimator, space, **({"cv": 2} | options)), X, y)


def bags() -> Job:
    space = {"n_jobs": [1, 2, 3], "n_estimators": [3, 10, 15]}
    return numbers(BaggingRegressor(random_state=0), space, return_train_score=True)


@pytest.fixture
def _threads() -> Iterator[None]:
    """Use threads for scikit-learn's own fits, because they start faster than processes."""
    with joblib.parallel_backend("threading", n_jobs=None):
        yield


@rows(
    bags=("Parts of a bag are summed by worker, also in a shared fit.", bags),
    probabilities=(
        "Probabilities are summed by worker.",
        lambda: classes(
            BaggingClassifier(DecisionTreeClassifier(max_depth=2), random_state=0, n_jobs=3),
            {"n_estimators": [3, 10, 15]},
            scoring="neg_log_loss",
        ),
    ),
    dictionaries=(
        "Sparse codes are computed in slices of X, within a pipeline that shares its first steps.",
        lambda: numbers(
            make_pipeline(
                make_column_transformer((StandardScaler(), [0, 1]), (MinMaxScaler(), [2, 3, 4])),
                MiniBatchDictionaryLearning(4, max_iter=4, random_state=0),
                Ridge(),
            ),
            {
                "columntransformer__n_jobs": [1, 2],
                "minibatchdictionarylearning__n_jobs": [1, 3],
                "ridge__alpha": [0.1, 1],
            },
        ),
    ),
    kernels=(
        "Kernels are computed in slices of X.",
        lambda: numbers(
            make_pipeline(Nystroem(n_components=20, random_state=0), Ridge()),
            {"nystroem__n_jobs": [1, 2, 3], "nystroem__kernel": ["rbf", "poly"]},
        ),
    ),
    bags_in_a_stack=(
        "Nested parts are divided as by joblib at their level.",
        lambda: numbers(
            StackingRegressor([("bag", BaggingRegressor(random_state=0, n_jobs=3))], Ridge(), cv=2),
            {"n_jobs": [None, 2], "bag__n_estimators": [10, 15]},
        ),
    ),
)
@pytest.mark.usefixtures("_threads")
def test_work_is_divided_as_for_workers(row: Row, cluster: Any, capfd: Any) -> None:
    """Estimators that divide their work by n_jobs score as with scikit-learn."""
    assert_same_answer(cluster, row, capfd)


@pytest.fixture(scope="module", params=["fork", "spawn"])
def pair(request: Any, _doubles_by_value: None) -> Iterator[Any]:
    """Yield two nodes of one slot, with each start method."""
    with skygrid.cluster(2, 1, on="local", start_method=request.param) as running:
        yield running


@pytest.mark.usefixtures("_threads")
def test_places_and_start_methods_divide_work_alike(pair: Any, capfd: Any) -> None:
    """Forked and spawned slots on two nodes divide work by the driver's n_jobs."""
    assert_same_answer(pair, Row("bags", "", bags), capfd)


@pytest.mark.usefixtures("_threads")
def test_a_search_without_sharing_divides_work_alike(capfd: Any) -> None:
    """A search without sharing gives the same answer."""
    with skygrid.cluster(sharing=False) as alone:
        assert_same_answer(alone, Row("bags", "", bags), capfd)


def voting(n_samples: int, n_features: int) -> Job:
    """Return a search over a vote: one member writes into X, the other depends on X."""
    writing = make_pipeline(InPlaceTransformer(), GaussianNB())
    vote = VotingClassifier([("writing", writing), ("layout", LayoutClassifier())])
    search = GridSearchCV(vote, {"n_jobs": [None, 2]}, cv=2, error_score=0.0)
    X, y = make_classification(n_samples, n_features, random_state=1)
    # The text of a failed fit has scikit-learn's own lines in a worker, which differ.
    return Job(search, np.asfortranarray(X), y, filters=[("ignore", FitFailedWarning)])


@rows(
    written=(
        "A part that writes into X writes into a copy of its own.",
        lambda: voting(60, 5),
    ),
    read_only=(
        "Arrays over 1 MB are read-only in workers, so writing fails.",
        lambda: voting(2000, 150),
    ),
    search=(
        "The nesting level of fits follows from the n_jobs of the search.",
        lambda: classes(JobsClassifier(), {"level": [1, 2]}, n_jobs=2),
    ),
)
def test_work_is_copied_as_for_processes(row: Row, cluster: Any, capfd: Any) -> None:
    """Estimators see the same arrays as in a process that joblib starts."""
    assert_same_answer(cluster, row, capfd)
