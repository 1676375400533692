"""Searches on nodes that die, hang, break and send false messages equal scikit-learn's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV

import skygrid
from skygrid.errors import FitKilledError, HandshakeError, NodeError, UsageError
from skygrid.nodes.interface import Transport
from skygrid.nodes.local_process import LocalProcess
from skygrid.queue.policies import LeasePolicy, QueuePolicies, RetryPolicy, SpeculationPolicy
from skygrid.worker.wire.messages.from_agent import (
    Greeting,
    Heartbeat,
    Pull,
    Returned,
    RoundReady,
    SlotDied,
)
from skygrid.worker.wire.messages.results import FitResult, Report, TypedNumber
from tests import misbehaving as bad
from tests.driven import (
    Driven,
    Held,
    Meddling,
    Nodes,
    Passing,
    assert_as_scikit_learn,
    data,
    once,
    tree_search,
)
from tests.processes import marked, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
METHODS = ["fork", "spawn"]

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("nothing_left")]


def impatient(seconds: float = 3.0) -> QueuePolicies:
    """Return policies with leases that expire early."""
    return QueuePolicies(lease=LeasePolicy(timeout_seconds=seconds), speculation=None)


def python(code: str) -> LocalProcess:
    return LocalProcess([sys.executable, "-c", code])


# ---- lost nodes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2])
def test_an_agent_killed_in_mid_run_is_replaced(count: int, method: str) -> None:
    X, y = data()
    with Driven(Nodes(count), start_method=method) as run:
        run.watch.on_outcomes = once(lambda: os.kill(run.nodes.pid("node-1"), signal.SIGKILL))
        search = run.fit(tree_search(), X, y)
        assert len(run.nodes.made["node-1"]) == 2
        assert run.watch.losses == 1
    assert_as_scikit_learn(search)
    assert len({(o.candidate, o.split) for o in run.watch.outcomes}) == 60
    assert len(run.watch.outcomes) == 60


@pytest.mark.parametrize("count", [1, 2])
def test_a_node_that_falls_silent_loses_its_leases_and_is_replaced(count: int) -> None:
    X, y = data()
    with Driven(Nodes(count), impatient()) as run:
        run.watch.on_outcomes = once(lambda: os.kill(run.nodes.pid("node-1"), signal.SIGSTOP))
        search = run.fit(tree_search(), X, y)
        # Of two nodes, the other one may have run all fits before this one took any. On a busy
        # machine, a working node may be silent for too long too.
        assert run.watch.losses >= 1 or count == 2
        assert sum(map(len, run.nodes.made.values())) == count + run.watch.losses
    assert_as_scikit_learn(search)


def test_repeated_losses_end_the_search_with_the_reason() -> None:
    X, y = data()
    with Driven(Nodes(2, lambda name, times, own: python("raise SystemExit(7)"))) as run:
        with pytest.raises(NodeError, match="exit code 7") as caught:
            run.fit(tree_search(), X, y)
        assert caught.value.exit_code == 3
        assert 2 < run.watch.losses < 20
        # A dead cluster raises again and does not wait for ever.
        with pytest.raises(NodeError, match="exit code 7"):
            run.fit(tree_search(), X, y)


def test_nodes_that_cannot_be_started_end_the_search_with_the_reason() -> None:
    X, y = data()
    nowhere = LocalProcess(["/no/such/python"])
    with (
        Driven(Nodes(1, lambda name, times, own: nowhere)) as run,
        pytest.raises(NodeError, match="/no/such/python"),
    ):
        run.fit(tree_search(), X, y)


def test_a_silent_node_is_replaced() -> None:
    X, y = data()
    silent = "import signal; signal.pause()"

    def first_silent(name: str, times: int, own: LocalProcess) -> Transport:
        return own if times else python(silent)

    with Driven(Nodes(1, first_silent), silence_seconds=8.0) as run:
        search = run.fit(tree_search(), X, y)
        assert run.watch.losses >= 1
    assert_as_scikit_learn(search)


def test_a_cluster_that_is_closed_at_once_leaves_nothing() -> None:
    with skygrid.cluster(on="local", nodes=2, concurrency=1):
        pass


def test_a_cluster_outside_its_with_statement_refuses_to_work() -> None:
    X, y = data()
    cluster = skygrid.cluster(on="local", nodes=1, concurrency=1)
    with pytest.raises(UsageError, match="with"):
        cluster.fit(tree_search(), X, y)


def test_a_search_that_does_not_load_leaves_the_cluster_usable() -> None:
    X, y = data()
    with skygrid.cluster(on="local", nodes=1, concurrency=1) as cluster:
        with pytest.raises(NodeError, match="does not load"):
            cluster.fit(GridSearchCV(bad.Harmless(), {"path": [bad.Unloadable()]}, cv=2), X, y)
        search = cluster.fit(tree_search(), X, y)
    assert_as_scikit_learn(search)


def test_data_that_was_used_before_is_sent_again() -> None:
    with Driven(Nodes(1, lambda name, times, own: Passing(own))) as run:
        for seed in (0, 1, 0):
            X, y = data(seed)
            search = run.fit(tree_search(), X, y)
            assert_as_scikit_learn(search, seed)
        assert run.watch.losses == 0


DRIVER = """
import sys
from sklearn.model_selection import GridSearchCV
import skygrid
from tests import misbehaving as bad
from tests.driven import data
with skygrid.cluster(on="local", nodes=2, concurrency=1, start_method=sys.argv[1]) as cluster:
    cluster.fit(GridSearchCV(bad.WaitingWithChild(path=sys.argv[2]), {"a": [1, 2]}, cv=2), *data())
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_driver_that_is_killed_leaves_nothing(
    method: str, tmp_path: Path, nothing_left: str
) -> None:
    path = tmp_path / "pids"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, method, path], cwd=ROOT)
    with driver:
        wait_until(
            lambda: path.exists() and len(path.read_text().splitlines()) == 4, "two fits to run"
        )
        family = marked(nothing_left)
        driver.kill()
    wait_until(lambda: not running(family), "everything that it had started to end")


# ---- damaged channels ---------------------------------------------------------------------------


class Flipping(Passing):
    """Flips one bit in the agent's output."""

    def __init__(self, own: LocalProcess) -> None:
        super().__init__(own)
        self._passed = 0

    def read(self) -> bytes:
        data = bytearray(self._own.read())
        before, self._passed = self._passed, self._passed + len(data)
        if before <= 3000 < self._passed:
            data[3000 - before] ^= 4
        return bytes(data)


class FlippingBack(Passing):
    """Flips one bit in the agent's input."""

    def write(self, data: bytes) -> None:
        if len(data) > 1000:
            data = data[:500] + bytes([data[500] ^ 1]) + data[501:]
        self._own.write(data)


@pytest.mark.parametrize("kind", [Flipping, FlippingBack])
def test_a_channel_that_flips_a_bit_is_closed(kind: type[Passing]) -> None:
    X, y = data()

    def first_broken(name: str, times: int, own: LocalProcess) -> Transport:
        return own if times else kind(own)

    with Driven(Nodes(1, first_broken)) as run:
        search = run.fit(tree_search(), X, y)
        assert run.watch.losses == 1
    assert_as_scikit_learn(search)
    assert len(run.watch.outcomes) == 60


class Odd(Passing):
    """Raises an unexpected error in reading or writing, after 1200 bytes."""

    def __init__(self, own: LocalProcess, fault: str) -> None:
        super().__init__(own)
        self._fault, self._passed = fault, 0

    def read(self) -> bytes:
        data = self._own.read()
        self._pass("read", len(data))
        return data

    def write(self, data: bytes) -> None:
        self._pass("write", len(data))
        self._own.write(data)

    def _pass(self, what: str, count: int) -> None:
        if what == self._fault:
            self._passed += count
            if self._passed > 1200:
                raise LookupError("nobody thought of this")


@pytest.mark.parametrize("fault", ["read", "write"])
def test_an_unexpected_error_of_a_channel_costs_its_node_only(fault: str, tmp_path: Path) -> None:
    """An unexpected error on a thread of a node loses it with the reason; others finish the run."""
    X, y = data()
    lost = threading.Event()
    # Data is written before a node is ready. Results are read later, when both nodes are there.
    early = fault == "write"
    if not early:
        lost.set()

    def first_odd(name: str, times: int, own: LocalProcess) -> Transport:
        return Odd(own, fault) if name == "node-1" else Held(own, lost)

    with Driven(Nodes(2, first_odd), min_nodes=1 if early else 2) as run:
        run.watch.on_lost = lost.set
        run.engine.keep_logs(tmp_path)
        search = run.fit(tree_search(), X, y)
    assert_as_scikit_learn(search)
    assert [node for node, _ in run.watch.reasons] == ["node-1"]
    assert "LookupError: nobody thought of this" in run.watch.reasons[0][1]
    assert "Traceback" in (tmp_path / "node-1.log").read_text()


# ---- false messages -----------------------------------------------------------------------------


def result(lease: int, score: Any = 0.123) -> FitResult:
    return FitResult(
        lease=lease, candidate=0, slot=0, status="scored", test_scores=score,
        n_test_samples=24, fit_seconds=0.01, score_seconds=0.01,
    )  # fmt: skip


def lies(message: Any) -> Iterable[Any]:
    """Yield a message, and false ones after it."""
    yield message
    if isinstance(message, Report):
        again = [msgspec.structs.replace(r, test_scores=0.5) for r in message.results]
        yield Report(round=message.round, results=again)
        yield Report(round=message.round + 1, results=[result(r.lease + 1) for r in again])
        yield Report(round=-(2**60), results=again)
        for lease in (10**9, message.results[0].lease):
            yield SlotDied(
                round=message.round,
                lease=lease,
                candidate=0,
                slot=0,
                cause="signal",
                detail="a lie",
                peak_bytes=0,
                seconds=-1e9,
            )
        yield Returned(round=message.round, leases=[10**9, message.results[0].lease])
        yield Heartbeat(busy=99, running=[10**9], slots_bytes=2**50, load=1e9)
        yield RoundReady(round=77)
        yield RoundReady(round=message.round)
        yield Pull(round=message.round + 1, count=5)


def test_false_messages_of_a_node_are_dropped() -> None:
    X, y = data()

    def first_lies(name: str, times: int, own: LocalProcess) -> Transport:
        return Meddling(own, lies) if name == "node-1" else own

    with Driven(Nodes(2, first_lies)) as run:
        search = run.fit(tree_search(), X, y)
        assert run.watch.losses == 0
        assert {outcome.node for outcome in run.watch.outcomes} == {"node-1", "node-2"}
    assert_as_scikit_learn(search)
    assert len(run.watch.outcomes) == 60


@pytest.mark.parametrize(
    "score",
    [None, {"a": TypedNumber("fraction", "1/0")}],
    ids=repr,
)
def test_a_node_with_invalid_scores_is_dropped(score: Any) -> None:
    X, y = data()

    def liar(message: Any) -> Iterable[Any]:
        if isinstance(message, Report):
            dishonest = [msgspec.structs.replace(r, test_scores=score) for r in message.results]
            message = msgspec.structs.replace(message, results=dishonest)
        yield message

    def first_lies(name: str, times: int, own: LocalProcess) -> Transport:
        return own if times else Meddling(own, liar)

    with Driven(Nodes(1, first_lies)) as run:
        search = run.fit(tree_search(), X, y)
        assert run.watch.losses == 1
    assert_as_scikit_learn(search)


def test_a_node_that_works_before_its_greeting_is_dropped() -> None:
    X, y = data()

    def hasty(message: Any) -> Iterable[Any]:
        if isinstance(message, Greeting):
            yield RoundReady(round=0)
            yield Pull(round=0, count=10)
        yield message

    def first_hasty(name: str, times: int, own: LocalProcess) -> Transport:
        return own if times else Meddling(own, hasty)

    with Driven(Nodes(1, first_hasty)) as run:
        search = run.fit(tree_search(), X, y)
        assert run.watch.losses == 1
    assert_as_scikit_learn(search)


def test_a_node_of_other_versions_is_refused_each_time() -> None:
    X, y = data()

    def elsewhere(message: Any) -> Iterable[Any]:
        if isinstance(message, Greeting):
            versions = message.versions | {"numpy": "0.1"}
            message = msgspec.structs.replace(message, versions=versions)
        yield message

    with Driven(Nodes(1, lambda name, times, own: Meddling(own, elsewhere))) as run:
        for _ in range(2):
            with pytest.raises(HandshakeError, match=r"numpy 0\.1 there"):
                run.fit(tree_search(), X, y)


def test_a_node_that_requests_too_much_does_not_break_the_search() -> None:
    X, y = data()

    def greedy(message: Any) -> Iterable[Any]:
        if isinstance(message, Pull):
            message = msgspec.structs.replace(message, count=2**62)
        yield message

    with Driven(Nodes(2, lambda name, times, own: Meddling(own, greedy))) as run:
        search = run.fit(tree_search(), X, y)
    assert_as_scikit_learn(search)


# ---- overdue fits -------------------------------------------------------------------------------


def test_an_overdue_fit_is_started_again_elsewhere(tmp_path: Path) -> None:
    X, y = data()
    policies = QueuePolicies(speculation=SpeculationPolicy(minimum_seconds=0.5, factor=2.0))
    grid = [
        {"culprit": [False], "a": list(np.arange(20.0))},
        {"culprit": [True], "a": [0.5]},
    ]
    search = GridSearchCV(bad.WaitingOnce(path=str(tmp_path / "once")), grid, cv=2)
    with Driven(Nodes(2), policies) as run:
        run.fit(search, X, y)
        assert run.watch.losses == 0
    assert len(run.watch.outcomes) == 42
    assert search.cv_results_["mean_test_score"][-1] == 0.5
    (waited,) = (tmp_path / "once").read_text().split()
    wait_until(lambda: not running([int(waited)]), "the fit that waited to be ended")


def test_a_node_that_stops_with_an_overdue_fit_delays_nothing(tmp_path: Path) -> None:
    X, y = data()
    policies = QueuePolicies(
        speculation=SpeculationPolicy(minimum_seconds=0.5, factor=2.0),
        lease=LeasePolicy(timeout_seconds=3.0),
    )
    grid = {"culprit": [True], "a": list(np.arange(6.0))}
    path = tmp_path / "once"
    search = GridSearchCV(bad.WaitingOnce(path=str(path)), grid, cv=2, refit=False)
    with Driven(Nodes(2), policies) as run:
        stopped: list[str] = []

        def stop_whoever_waits(node: str, beat: Heartbeat) -> None:
            if beat.busy and not stopped:
                stopped.append(node)
                os.kill(run.nodes.pid(node), signal.SIGSTOP)

        run.watch.on_beat = stop_whoever_waits
        run.fit(search, X, y)
        assert len(stopped) == 1
    assert search.cv_results_["mean_test_score"].tolist() == list(np.arange(6.0))
    assert len(run.watch.outcomes) == 12


# ---- fits that kill their slot ------------------------------------------------------------------


def culprit_search(estimator: Any, **options: Any) -> GridSearchCV:
    grid = [{"culprit": [False], "a": [1.0, 2.0]}, {"culprit": [True], "a": [3.0]}]
    return GridSearchCV(estimator, grid, cv=2, **options)


KILLERS = [
    (bad.Segfaulting(), {}, "SIGSEGV"),
    (bad.Leaving(), {}, "exit code 3"),
    (bad.Looping(), {"fit_timeout_seconds": 1.5}, "timed out after 1.5 s"),
    (bad.Hoarding(), {"memory_limit_bytes": 400 * 2**20}, "GiB"),
]


@pytest.mark.parametrize(
    ("estimator", "settings", "reason"), KILLERS, ids=lambda value: type(value).__name__
)
def test_a_candidate_that_kills_its_slot_fails_alone(
    estimator: Any, settings: dict[str, Any], reason: str
) -> None:
    X, y = data()
    policies = QueuePolicies(retry=RetryPolicy(retries=1))
    with (
        Driven(Nodes(1), policies, **settings) as run,
        pytest.warns(FitFailedWarning) as caught,
    ):
        search = run.fit(culprit_search(estimator), X, y)
    assert search.cv_results_["mean_test_score"][:2].tolist() == [1.0, 2.0]
    assert np.isnan(search.cv_results_["mean_test_score"][2])
    assert search.best_index_ == 1
    text = "".join(str(warning.message) for warning in caught)
    assert "2 fits failed out of a total of 6" in text
    assert reason in text
    assert "skygrid gave this fit up" in text
    assert run.watch.losses == 0
    assert len(run.watch.failures) == 4
    killed = [outcome for outcome in run.watch.outcomes if outcome.status == "killed"]
    assert {outcome.attempt for outcome in killed} == {2}


@pytest.mark.parametrize(
    ("estimator", "settings", "reason"), KILLERS[:3], ids=lambda value: type(value).__name__
)
def test_under_error_score_raise_a_killed_fit_raises(
    estimator: Any, settings: dict[str, Any], reason: str
) -> None:
    X, y = data()
    policies = QueuePolicies(retry=RetryPolicy(retries=0))
    search = culprit_search(estimator, error_score="raise")
    with Driven(Nodes(1), policies, **settings) as run, warnings.catch_warnings():
        warnings.simplefilter("error", FitFailedWarning)
        with pytest.raises(FitKilledError, match=reason) as caught:
            run.fit(search, X, y)
    assert caught.value.exit_code == 1
    assert "error_score" in str(caught.value)


def test_the_timeout_of_a_cluster_reaches_its_fits() -> None:
    X, y = data()
    with (
        skygrid.cluster(on="local", nodes=1, concurrency=2, fit_timeout=1.5, retries=0) as cluster,
        pytest.warns(FitFailedWarning, match=r"timed out after 1\.5 s"),
    ):
        search = cluster.fit(culprit_search(bad.HoldingTheGil()), X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, False, True]
