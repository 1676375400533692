"""One engine and several searches: closed, interrupted, nested."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.model_selection import GridSearchCV

from skygrid.errors import InterruptedRunError, UsageError
from skygrid.nodes.interface import Transport
from skygrid.nodes.local_process import LocalProcess
from tests import misbehaving as bad
from tests.acceptance.sameness import differences
from tests.driven import (
    Driven,
    Nodes,
    Passing,
    assert_as_scikit_learn,
    data,
    once,
    tree_search,
)
from tests.nesting import Nesting, by_sklearn, samples, tree
from tests.processes import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")


class Fitting(threading.Thread):
    """Thread that fits a search without end and keeps the error that ends it."""

    def __init__(self, run: Driven, path: Path) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self.path = path
        self._run = run
        self.start()

    def run(self) -> None:
        search = GridSearchCV(bad.Waiting(path=str(self.path)), {"a": [1, 2]}, cv=2)
        try:
            self._run.fit(search, *data())
        except BaseException as error:  # the test looks at it
            self.error = error

    def end(self) -> None:
        self.join(WAIT_SECONDS)
        assert not self.is_alive(), "the search does not end"


def fitting_two(run: Driven, tmp_path: Path) -> tuple[Fitting, Fitting]:
    """Return two threads, of which the first runs a round and the second waits for it."""
    first = Fitting(run, tmp_path / "first")
    wait_until(first.path.exists, "the first thread's fit to run")
    second = Fitting(run, tmp_path / "second")
    wait_until(lambda: second.ident in run.engine._turns._threads, "the second thread to wait")
    return first, second


def test_closing_ends_the_searches_of_other_threads(tmp_path: Path) -> None:
    """The running and the waiting thread get an error that the nodes are closed."""
    with Driven(Nodes(1)) as run:
        threads = fitting_two(run, tmp_path)
    for thread in threads:
        thread.end()
        assert isinstance(thread.error, UsageError)
        assert "also in other threads" in str(thread.error)
    assert not threads[1].path.exists()


def test_ctrl_c_ends_the_searches_of_all_threads(tmp_path: Path) -> None:
    """An interrupted run ends the running and the waiting thread without further fits."""
    with Driven(Nodes(1)) as run:
        threads = fitting_two(run, tmp_path)
        assert run.engine.interrupt()
        for thread in threads:
            thread.end()
            assert isinstance(thread.error, InterruptedRunError)
    assert not threads[1].path.exists()


def test_a_search_from_within_a_round_is_refused() -> None:
    """A search inside a round is refused, because it would wait for itself; the round continues."""
    X, y = data()
    refused: list[Exception] = []

    def fit() -> None:
        try:
            run.fit(tree_search(), X, y)
        except UsageError as error:
            refused.append(error)

    with Driven(Nodes(1)) as run:
        run.watch.on_outcomes = once(fit)
        search = run.fit(tree_search(), X, y)
    assert "signal handler" in str(refused[0])
    assert_as_scikit_learn(search)


@pytest.mark.parametrize("n_samples", [60, 5000])
def test_nodes_without_shared_files_have_each_rounds_data(n_samples: int) -> None:
    """Small data is sent with the round, large data is offered, again after another search."""

    def nesting() -> Nesting:
        return Nesting(tree(), {}, depth=1, cv=2)

    X, y = samples(1, n_samples)
    Nesting.fit_with = staticmethod(by_sklearn)
    theirs = nesting().fit(X, y)
    with Driven(Nodes(1, lambda name, times, own: Passing(own))) as run:
        Nesting.fit_with = run.fit
        assert not differences(run.fit(nesting(), X, y), theirs, "search")
        assert run.watch.reasons == []


class HearingLate(Passing):
    """Transport that delays all writes until an event."""

    shares_files = LocalProcess.shares_files

    def __init__(self, own: LocalProcess, fact: threading.Event) -> None:
        super().__init__(own)
        self._fact = fact

    def write(self, data: bytes) -> None:
        self._fact.wait(WAIT_SECONDS)
        self._own.write(data)


def test_a_node_that_learns_of_a_search_after_its_end_stays() -> None:
    """The files of a search exist until each node has opened them."""
    X, y = data()
    over, greeted = threading.Event(), threading.Event()

    def late(name: str, times: int, own: LocalProcess) -> Transport:
        return HearingLate(own, over) if name == "node-2" else own

    def on_greeted(node: str, greeting: Any) -> None:
        if node == "node-2":
            greeted.set()

    with Driven(Nodes(2, late)) as run:
        run.watch.node_greeted = on_greeted
        fit_until(greeted.is_set, run, X, y)
        over.set()
        fit_until(lambda: ("node-2", "working") in run.watch.states, run, X, y)
        assert run.watch.reasons == []


def fit_until(fact: Callable[[], bool], run: Driven, X: Any, y: Any) -> None:
    """Fit small searches until a fact is true."""

    def fitted() -> bool:
        run.fit(GridSearchCV(bad.Unhurried(random_state=0), {"max_depth": [1, 2]}, cv=2), X, y)
        return fact()

    wait_until(fitted, "what searches are fitted for")
