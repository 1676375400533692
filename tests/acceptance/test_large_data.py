"""Searches with a large X, whose samples all slots of a node share."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import skygrid
from skygrid.sklearn_search import sharing as common_work
from tests.acceptance.doubles import (
    FailingClassifier,
    InPlaceTransformer,
    LayoutClassifier,
    MemoryClassifier,
    ResizingClassifier,
    SampleFilesClassifier,
    SplitFailingClassifier,
    ThresholdClassifier,
)
from tests.acceptance.searches import Job, assert_same_answer, flowers, rows

LEVELS = {"level": [1, 2, 3]}


def grid(estimator: Any, space: Any, **options: Any) -> Job:
    return Job(GridSearchCV(estimator, space, **({"cv": 3} | options)), *flowers())


def given(X: Any, **options: Any) -> Job:
    return Job(GridSearchCV(LayoutClassifier(), LEVELS, cv=3, **options), X, flowers()[1])


def mapped(X: Any) -> Any:
    with tempfile.TemporaryFile() as file:
        np.save(file, X)
        return np.memmap(file, X.dtype, "r", file.tell() - X.nbytes, X.shape)


def kernel() -> Job:
    X, y = flowers()
    return Job(GridSearchCV(SVC(kernel="precomputed"), {"C": [0.1, 1, 10]}, cv=3), X @ X.T, y)


def no_kernel() -> Job:
    return grid(SVC(kernel="precomputed"), {"C": [0.1, 1]})


def masks() -> Job:
    X, y = flowers()
    parts = [np.arange(len(X)) % 3 == part for part in range(3)]
    cv = [(~part, part) for part in parts]
    return Job(GridSearchCV(LayoutClassifier(), LEVELS, cv=cv), X, y)


def halving() -> Job:
    space = {"max_depth": [1, 2, 3]}
    tree = DecisionTreeClassifier(random_state=0)
    return Job(HalvingGridSearchCV(tree, space, cv=2, factor=2, random_state=0), *flowers())


SEARCHES = rows(
    layout=("X in C order.", lambda: given(flowers()[0])),
    fortran=("X in Fortran order.", lambda: given(np.asfortranarray(flowers()[0]))),
    halves=("Numbers of half precision.", lambda: given(flowers()[0].astype("f2"))),
    file=("X in a file that is mapped.", lambda: given(mapped(flowers()[0]))),
    train_scores=(
        "Scores of the training set.",
        lambda: given(flowers()[0], return_train_score=True),
    ),
    resized=("An estimator that resizes X.", lambda: grid(ResizingClassifier(), LEVELS)),
    in_place=(
        "Steps that write into their input, and a scorer after them.",
        lambda: grid(
            make_pipeline(InPlaceTransformer(), StandardScaler(copy=False), LogisticRegression()),
            {"inplacetransformer__factor": [1.5, 3.0], "logisticregression__C": [0.1, 1]},
            return_train_score=True,
        ),
    ),
    groups=("Shared fits.", lambda: grid(GaussianNB(), {"var_smoothing": [1e-9, 0.1]})),
    prefixes=(
        "Shared first steps.",
        lambda: grid(
            make_pipeline(PCA(2, svd_solver="full"), LogisticRegression()),
            {"logisticregression__C": [0.1, 1, 10]},
        ),
    ),
    kernel=("A precomputed kernel, whose columns are split too.", kernel),
    no_kernel=("An estimator for kernels with an X that is none.", no_kernel),
    masks=("Splits that are masks.", masks),
    failures=("Fits that fail.", lambda: grid(FailingClassifier(), LEVELS)),
    raised=(
        "The error that is first in scikit-learn's order.",
        lambda: grid(SplitFailingClassifier(), {"level": [1, 4, 2, 3]}, error_score="raise"),
    ),
    halving=("Several rounds, each on a part of X.", halving),
)

PLACES: dict[str, dict[str, Any]] = {
    "forked slots": {"nodes": 1, "concurrency": 2},
    "spawned slots": {"nodes": 1, "concurrency": 2, "start_method": "spawn"},
}


@pytest.fixture(scope="module", params=PLACES)
def place(request: Any, _doubles_by_value: None) -> Iterator[Any]:
    """Yield a cluster of each kind."""
    with skygrid.cluster(on="local", **PLACES[request.param]) as running:
        yield running


class Counted(int):
    """A number that counts how often it is pickled."""

    pickled = 0

    def __reduce__(self) -> Any:
        Counted.pickled += 1
        return int, (int(self),)


def test_a_parameter_value_is_pickled_once(place: Any) -> None:
    """A search from Python pickles its candidates once, for the nodes."""
    before = Counted.pickled
    levels = {"level": [Counted(1)]}
    search = GridSearchCV(ThresholdClassifier(), levels, cv=3, refit=False)
    place.fit(search, *flowers())
    assert Counted.pickled == before + 1


@pytest.mark.sklearn_versions
@SEARCHES
def test_large_data_gives_the_same_answer(
    place: Any, row: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fits with shared samples give scikit-learn's own object."""
    monkeypatch.setattr(common_work, "SHARED_FROM_BYTES", 0)
    assert_same_answer(place, row, capfd)


@pytest.mark.sklearn_versions
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.usefixtures("_doubles_by_value")
@pytest.mark.parametrize("start_method", ["fork", "spawn"])
class TestMemory:
    def test_slots_share_the_samples_of_a_large_x(self, start_method: Any) -> None:
        """A fit on 80 MB holds none of them; without sharing it holds all."""
        X, y = np.ones((10_000, 2000)), np.arange(10_000) % 2

        def held(sharing: bool) -> float:
            search = GridSearchCV(MemoryClassifier(), LEVELS, cv=KFold(2), refit=False)
            options = {"concurrency": 2, "start_method": start_method, "sharing": sharing}
            with skygrid.cluster(on="local", nodes=1, **options) as running:
                running.fit(search, X, y)
            return float(np.max(search.cv_results_["mean_test_score"]))

        assert held(sharing=True) < held(sharing=False) - 0.8 * 80

    def test_a_node_keeps_the_samples_of_two_splits_at_most(
        self, start_method: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Over ten splits a node never keeps the samples of more than two, all of them shared."""
        monkeypatch.setattr(common_work, "SHARED_FROM_BYTES", 0)
        X, y = np.ones((5000, 400)), np.arange(5000) % 2
        search = GridSearchCV(SampleFilesClassifier(), LEVELS, cv=KFold(10), refit=False)
        options = {"concurrency": 2, "start_method": start_method}
        with skygrid.cluster(on="local", nodes=1, **options) as running:
            running.fit(search, X, y)
        held = [search.cv_results_[f"split{split}_test_score"] for split in range(10)]
        assert np.min(held) >= 0.9 * X.nbytes / 1e6
        assert np.max(held) <= 2 * X.nbytes / 1e6 + 0.001
