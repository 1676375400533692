"""Searches that share a cluster, within one another or in several threads, do so unnoticed."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV

import skygrid
from tests.acceptance.doubles import FailingClassifier
from tests.acceptance.sameness import differences
from tests.nesting import Nesting, by_sklearn, samples, tree
from tests.processes import WAIT_SECONDS, wait_until

PLACES: dict[str, dict[str, Any]] = {
    "forked slots": {"nodes": 1, "concurrency": 2, "start_method": "fork"},
    "spawned slots on two nodes": {"nodes": 2, "concurrency": 1, "start_method": "spawn"},
}


@pytest.fixture(scope="module", params=PLACES)
def place(request: Any, _doubles_by_value: None) -> Iterator[Any]:
    with skygrid.cluster(on="local", **PLACES[request.param]) as running:
        yield running


def assert_same(make: Callable[[], Any], place: Any, seed: int) -> None:
    """A search by scikit-learn and the same one on nodes differ in nothing but the times."""
    Nesting.fit_with = staticmethod(by_sklearn)
    theirs = by_sklearn(make(), *samples(seed))
    Nesting.fit_with = place.fit
    assert not differences(place.fit(make(), *samples(seed)), theirs, "search")


@pytest.mark.parametrize(("depth", "return_train_score"), [(1, True), (2, False)])
def test_a_search_between_two_rounds(place: Any, depth: int, return_train_score: bool) -> None:
    """The rounds after a search of other data and settings have their own search's again."""
    options: dict[str, Any] = {"depth": depth, "return_train_score": return_train_score}
    assert_same(lambda: Nesting(tree(), {}, cv=3, **options), place, seed=depth)


def test_a_search_that_chooses_the_best_candidate(place: Any) -> None:
    """A callable refit may fit another search on the same nodes."""

    def refit(results: Any) -> int:
        inner = GridSearchCV(tree(), {"max_depth": [1, 2, 3, 4]}, cv=2)
        return int(Nesting.fit_with(inner, *samples(5)).best_index_)

    assert_same(lambda: Nesting(tree(), {}, cv=2, refit=refit), place, seed=1)


def in_threads(actions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results or errors of the actions, each called in a thread of its own, all at once."""
    results: list[Any] = [None] * len(actions)

    def call(place: int) -> None:
        try:
            results[place] = actions[place]()
        except Exception as error:  # the test looks at it
            results[place] = error

    threads = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive(), "a search in a thread does not end"
    return results


def test_searches_of_several_threads(place: Any) -> None:
    """Threads fit at once on one cluster, and each gets its own answer."""
    seeds = range(1, 4)

    def fit(seed: int, by: Callable[..., Any]) -> Any:
        search = Nesting(tree(), {}, depth=1, cv=3, return_train_score=seed % 2 == 0)
        return by(search, *samples(seed))

    Nesting.fit_with = staticmethod(by_sklearn)
    theirs = [fit(seed, by_sklearn) for seed in seeds]
    Nesting.fit_with = place.fit
    ours = in_threads([lambda seed=seed: fit(seed, place.fit) for seed in seeds])
    assert not differences(ours, theirs, "searches")


def test_a_search_that_raises_beside_another_thread(place: Any) -> None:
    """An error ends the search of its own thread alone."""

    def fit(by: Callable[..., Any]) -> Any:
        return by(GridSearchCV(tree(), {"max_depth": [1, 2, 3, 4]}, cv=4), *samples(2))

    def raises() -> Any:
        search = GridSearchCV(FailingClassifier(), {"level": [1, 2, 3]}, error_score="raise")
        return place.fit(search, *samples(3))

    raised, fitted = in_threads([raises, lambda: fit(place.fit)])
    assert isinstance(raised, ValueError)
    assert not differences(fitted, fit(by_sklearn), "search")


def test_clusters_of_several_threads() -> None:
    """Each thread may have nodes of its own."""

    def fit(seed: int) -> Any:
        search = GridSearchCV(tree(), {"max_depth": [1, 2, 3]}, cv=2)
        return skygrid.fit(search, *samples(seed), on="local", nodes=1, concurrency=1)

    ours = in_threads([lambda: fit(1), lambda: fit(2)])
    theirs = [
        GridSearchCV(tree(), {"max_depth": [1, 2, 3]}, cv=2).fit(*samples(seed)) for seed in (1, 2)
    ]
    assert not differences(ours, theirs, "searches")


def test_a_cluster_that_waits_holds_nothing_of_the_last_search(place: Any) -> None:
    """The memory of X is free when a search is over, here and on nodes of this machine."""
    X, y = np.ones((2**18, 4)), np.arange(2**18) % 2
    array = weakref.ref(X)
    place.fit(GridSearchCV(DummyClassifier(), {"strategy": ["prior"]}, cv=2, refit=False), X, y)
    del X
    gc.collect()
    assert array() is None
    own = psutil.Process()
    wait_until(
        lambda: not any(map(has_large_files, [own, *own.children(recursive=True)])),
        "files of 8 MiB without a name to be closed",
    )


def has_large_files(process: psutil.Process) -> bool:
    """Whether a process has a file open that is large and without a name."""
    for entry in (Path("/proc") / str(process.pid) / "fd").glob("*"):
        try:
            if "(deleted)" in os.readlink(entry) and entry.stat().st_size >= 2**20:
                return True
        except FileNotFoundError:  # closed meanwhile
            continue
    return False
