"""Searches share a cluster in threads or within each other without any effect."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV

import skygrid
from tests.acceptance.doubles import FailingClassifier
from tests.acceptance.sameness import differences
from tests.nesting import Nesting, by_sklearn, samples, tree
from tests.processes import WAIT_SECONDS, children, unnamed_files, wait_until

PLACES: dict[str, dict[str, Any]] = {
    "forked slots": {"nodes": 1, "concurrency": 2, "start_method": "fork"},
    "spawned slots on two nodes": {"nodes": 2, "concurrency": 1, "start_method": "spawn"},
}


@pytest.fixture(scope="module", params=PLACES)
def place(request: Any, _doubles_by_value: None) -> Iterator[Any]:
    with skygrid.cluster(on="local", **PLACES[request.param]) as running:
        yield running


def assert_same(make: Callable[[], Any], place: Any, seed: int) -> None:
    """Check that a search by scikit-learn and one on nodes differ only in times."""
    Nesting.fit_with = staticmethod(by_sklearn)
    theirs = by_sklearn(make(), *samples(seed))
    Nesting.fit_with = place.fit
    assert not differences(place.fit(make(), *samples(seed)), theirs, "search")


@pytest.mark.parametrize(("depth", "return_train_score"), [(1, True), (2, False)])
def test_an_inner_search_between_two_rounds(
    place: Any, depth: int, return_train_score: bool
) -> None:
    """Rounds after an inner search use the data and settings of their own search again."""
    options: dict[str, Any] = {"depth": depth, "return_train_score": return_train_score}
    assert_same(lambda: Nesting(tree(), {}, cv=3, **options), place, seed=depth)


def test_a_refit_function_may_fit_a_search(place: Any) -> None:
    """A refit function may fit another search on the same nodes."""

    def refit(results: Any) -> int:
        inner = GridSearchCV(tree(), {"max_depth": [1, 2, 3, 4]}, cv=2)
        return int(Nesting.fit_with(inner, *samples(5)).best_index_)

    assert_same(lambda: Nesting(tree(), {}, cv=2, refit=refit), place, seed=1)


def in_threads(actions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return results or errors of the actions, all called at once in separate threads."""
    results: list[Any] = [None] * len(actions)

    def call(place: int) -> None:
        try:
            results[place] = actions[place]()
        except Exception as error:  # returned to the test
            results[place] = error

    threads = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive(), "a search in a thread does not end"
    return results


def test_searches_of_several_threads(place: Any) -> None:
    """Threads fit on one cluster at once, and each gets its own answer."""
    seeds = range(1, 4)

    def fit(seed: int, by: Callable[..., Any]) -> Any:
        search = Nesting(tree(), {}, depth=1, cv=3, return_train_score=seed % 2 == 0)
        return by(search, *samples(seed))

    Nesting.fit_with = staticmethod(by_sklearn)
    theirs = [fit(seed, by_sklearn) for seed in seeds]
    Nesting.fit_with = place.fit
    ours = in_threads([lambda seed=seed: fit(seed, place.fit) for seed in seeds])
    assert not differences(ours, theirs, "searches")


def test_an_error_ends_only_the_search_of_its_thread(place: Any) -> None:
    """An error ends only the search of its own thread."""

    def fit(by: Callable[..., Any]) -> Any:
        return by(GridSearchCV(tree(), {"max_depth": [1, 2, 3, 4]}, cv=4), *samples(2))

    def raises() -> Any:
        search = GridSearchCV(FailingClassifier(), {"level": [1, 2, 3]}, error_score="raise")
        return place.fit(search, *samples(3))

    raised, fitted = in_threads([raises, lambda: fit(place.fit)])
    assert isinstance(raised, ValueError)
    assert not differences(fitted, fit(by_sklearn), "search")


def test_clusters_of_several_threads() -> None:
    """Threads may have separate clusters."""

    def fit(seed: int) -> Any:
        search = GridSearchCV(tree(), {"max_depth": [1, 2, 3]}, cv=2)
        return skygrid.fit(search, *samples(seed), on="local", nodes=1, concurrency=1)

    ours = in_threads([lambda: fit(1), lambda: fit(2)])
    theirs = [
        GridSearchCV(tree(), {"max_depth": [1, 2, 3]}, cv=2).fit(*samples(seed)) for seed in (1, 2)
    ]
    assert not differences(ours, theirs, "searches")


def test_an_idle_cluster_releases_the_data_of_its_last_search(place: Any) -> None:
    """The memory of X is released after a search, here and on local nodes."""
    assert_released(place, DummyClassifier(), {"strategy": ["prior"]})


class RaisingTheSameError(DummyClassifier):
    """Raises one exception in every fit; its traceback keeps the data of the fit."""

    error = ValueError("raised again")

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        raise self.error


def test_an_idle_cluster_releases_the_data_of_a_search_that_raised(place: Any) -> None:
    """The memory of X is released once the error is handled, here and on local nodes."""
    assert_released(place, RaisingTheSameError(), {}, ValueError)


def assert_released(place: Any, estimator: Any, space: Any, *errors: type[BaseException]) -> None:
    """Fit a search of a large X; check that nothing of it is left without garbage collection."""
    X, y = np.ones((2**18, 4)), np.arange(2**18) % 2
    array = weakref.ref(X)
    others = set(open_files())
    raised = False
    gc.collect()
    gc.disable()
    try:
        try:
            search = GridSearchCV(estimator, space, cv=2, refit=False, error_score="raise")
            place.fit(search, X, y)
        except errors:  # not by `pytest.raises`, which keeps the traceback and with it X
            raised = True
        assert raised == bool(errors)
        del X
        # A node that is late may have yet to open the file of X, which lives as long as X.
        wait_until(lambda: array() is None, "X to be released")
    finally:
        gc.enable()
    try:
        wait_until(lambda: others.issuperset(open_files()), "the files of X to be closed")
    except AssertionError as error:
        raise AssertionError(f"{error}: {set(open_files()) - others}") from None


def open_files() -> list[str]:
    """Describe large files without a name that this process and its descendants have open."""
    return unnamed_files([os.getpid(), *children()], least=2**20)
