"""A hostile node is dropped with a reason, and the search continues without it.

The hostile node is one of two. Its messages replace those of a real agent.
"""

from __future__ import annotations

import os
import pickle
import random
import threading
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skygrid.config import limits
from skygrid.engine.roster import MAX_FAULTS
from skygrid.errors import NodeError
from skygrid.nodes.interface import Transport
from skygrid.nodes.local_process import LocalProcess
from skygrid.queue.policies import QueuePolicies, RetryPolicy
from skygrid.worker.limits import MAX_FRAME
from skygrid.worker.wire.frames import HEADER, encode
from skygrid.worker.wire.messages.from_agent import (
    Greeting,
    Heartbeat,
    Pull,
    Refusal,
    RoundReady,
    SlotDied,
)
from skygrid.worker.wire.messages.results import FitResult, Report, TypedNumber
from tests.driven import (
    Driven,
    Held,
    Meddling,
    Nodes,
    Passing,
    assert_as_scikit_learn,
    data,
    tree_search,
)

pytestmark = pytest.mark.faults

FLOOD = 10_000_000


class Interrupting(Passing):
    """Passes the agent's first bytes on, and other bytes for ever after them."""

    def __init__(self, own: LocalProcess, says: Callable[[], bytes]) -> None:
        super().__init__(own)
        self._says = says
        self._passed = False
        self.bytes_said = 0

    def read(self) -> bytes:
        if not self._passed:
            self._passed = True
            data: bytes = self._own.read()
            return data
        data = self._says()
        self.bytes_said += len(data)
        return data


class Bomb:
    """Object that makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


def framed(payload: bytes) -> bytes:
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def run_beside(wrap: Callable[[LocalProcess], Transport], **settings: Any) -> Driven:
    """Run the search on an honest node and on one with a wrapped transport.

    The honest node could otherwise finish the search before the other one starts. It is held until
    that one is lost, or both nodes are awaited (`min_nodes`).
    """
    X, y = data()
    lost = threading.Event()
    if settings.get("min_nodes") == 2:
        lost.set()
    nodes = Nodes(2, lambda name, times, own: wrap(own) if name == "node-1" else Held(own, lost))
    with Driven(nodes, **settings) as run:
        run.watch.on_lost = lost.set
        search = run.fit(tree_search(), X, y)
    assert_as_scikit_learn(search)
    assert len(run.watch.outcomes) == 60
    assert {node for node, _ in run.watch.reasons} == {"node-1"}
    assert len(run.watch.reasons) <= MAX_FAULTS + 1
    return run


def random_bytes() -> bytes:
    return random.Random(0).randbytes(4096)


def endless_frame() -> bytes:
    return HEADER.pack(2**32 - 1, 0) + bytes(4096)


def long_frame() -> bytes:
    return HEADER.pack(MAX_FRAME + 1, 0) + bytes(4096)


def unknown_message() -> bytes:
    return framed(msgspec.msgpack.encode({"type": "execute", "code": "import os"}))


def wrong_types() -> bytes:
    return framed(msgspec.msgpack.encode({"type": "pull", "round": "0", "count": [1]}))


@pytest.mark.parametrize(
    "says", [random_bytes, endless_frame, long_frame, unknown_message, wrong_types]
)
def test_a_node_that_breaks_the_protocol_is_dropped(says: Callable[[], bytes]) -> None:
    """Bytes that are no message drop the node, with the reason."""
    run = run_beside(lambda own: Interrupting(own, says))

    assert all("broke the protocol" in reason for _, reason in run.watch.reasons)


def test_a_pickle_is_not_unpickled(tmp_path: Path) -> None:
    """A pickle in place of a message is never unpickled."""
    folder = tmp_path / "made-by-the-pickle"
    bomb = pickle.dumps(Bomb(folder))
    for says in (bomb, framed(bomb), framed(msgspec.msgpack.encode(bomb))):
        run_beside(lambda own, says=says: Interrupting(own, lambda: says))

    assert not folder.exists()


@pytest.mark.parametrize(
    "message",
    [
        Pull(round=0, count=1),
        Report(round=7, results=[]),
        Heartbeat(busy=1, running=[1, 2, 3], slots_bytes=1, load=0.0),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_flood_of_messages_ends_early(message: Any) -> None:
    """Of ten million messages less than a hundredth is read before the node is dropped."""
    frame, said = encode(message), []

    def wrap(own: LocalProcess) -> Transport:
        left = iter([frame * 1000] * (FLOOD // 1000))
        said.append(Interrupting(own, lambda: next(left, b"")))
        return said[-1]  # type: ignore[return-value]

    run = run_beside(wrap)

    assert run.watch.reasons
    assert all("more messages than its work" in reason for _, reason in run.watch.reasons)
    assert sum(one.bytes_said for one in said) < FLOOD * len(frame) / 100


@pytest.mark.parametrize("lease", [0, 10**6, 2**53])
def test_outcomes_of_unknown_leases_drop_the_node(lease: int) -> None:
    """A node that reports a lease that it does not have is dropped, and nothing is recorded."""

    def lies(message: Any) -> Iterable[Any]:
        if isinstance(message, Report):
            false = FitResult(
                lease=lease, candidate=0, slot=0, status="scored", test_scores=0.999,
                n_test_samples=24, fit_seconds=0.01, score_seconds=0.01,
            )  # fmt: skip
            yield Report(round=message.round, results=[false])
        yield message

    run = run_beside(lambda own: Meddling(own, lies), min_nodes=2)

    assert all("never given" in reason for _, reason in run.watch.reasons)
    assert all(outcome.test_scores != 0.999 for outcome in run.watch.outcomes)


@pytest.mark.parametrize(
    "scores",
    [{}, {"score": 0.9}, TypedNumber("int", "f" * 400), TypedNumber("int", "1" * 20_000), None],
    ids=["no metric", "another form", "overflow", "too long", "none"],
)
def test_scores_that_cannot_be_assembled_end_the_node(scores: Any) -> None:
    """Scores of another form than the scorer's are not recorded."""

    def lies(message: Any) -> Iterable[Any]:
        if isinstance(message, Report):
            results = [msgspec.structs.replace(one, test_scores=scores) for one in message.results]
            message = Report(round=message.round, results=results)
        yield message

    run = run_beside(lambda own: Meddling(own, lies), min_nodes=2)

    assert all("it sent" in why or "protocol" in why for _, why in run.watch.reasons)
    assert all(type(outcome.test_scores) is float for outcome in run.watch.outcomes)


def test_a_node_that_reports_true_and_false_scores_is_dropped() -> None:
    """True reports between false ones do not keep a node, and no fit is given up for its lies."""
    reports = [0]

    def lies(message: Any) -> Iterable[Any]:
        if isinstance(message, Report):
            reports[0] += 1
            if reports[0] % 2 == 0:
                results = [msgspec.structs.replace(one, test_scores={}) for one in message.results]
                message = Report(round=message.round, results=results)
        yield message

    X, y = data()
    nodes = Nodes(1, lambda name, times, own: Meddling(own, lies))
    with Driven(nodes) as run, pytest.raises(NodeError, match="it sent one score instead of"):
        run.fit(tree_search(), X, y)
    assert run.watch.losses == MAX_FAULTS + 1
    assert run.watch.outcomes
    assert {outcome.status for outcome in run.watch.outcomes} == {"scored"}


RUDE = "\x1b]0;owned\x07\x1b[2J" + "y" * 100_000


def test_a_refusal_is_safe_for_a_terminal() -> None:
    """Escape sequences are removed from a refusal, and its length is limited."""

    def rude(message: Any) -> Iterable[Any]:
        yield Refusal(reason=RUDE) if isinstance(message, Greeting) else message

    run = run_beside(lambda own: Meddling(own, rude))

    ((_, reason),) = run.watch.reasons
    assert "owned" in reason
    assert "\x1b" not in reason
    assert len(reason) < 3000


def test_a_greeting_is_safe_for_a_table() -> None:
    """Escape sequences are removed from host, processor and versions."""

    def rude(message: Any) -> Iterable[Any]:
        if isinstance(message, Greeting):
            versions = {**message.versions, "blas": RUDE, RUDE: "1"}
            yield msgspec.structs.replace(
                message, host=RUDE, cpu=RUDE, machine=RUDE, versions=versions
            )
        else:
            yield message

    X, y = data()
    with Driven(Nodes(1, lambda name, times, own: Meddling(own, rude))) as run:
        assert_as_scikit_learn(run.fit(tree_search(), X, y))
        greeting = run.engine.greetings["node-1"]
    said = msgspec.json.encode(greeting).decode()
    assert "owned" in greeting.host
    assert "\\u001b" not in said
    assert len(said) < 3000


def test_a_death_is_safe_for_a_terminal() -> None:
    """Escape sequences are removed from the report of a slot's death."""
    reports: list[Report] = []

    def rude(message: Any) -> Iterable[Any]:
        if isinstance(message, Report):
            reports.append(message)
        # Only the first fits are reported dead, so that the search succeeds.
        if not isinstance(message, Report) or len(reports) > 1:
            yield message
            return
        for lease, candidate in {r.lease: r.candidate for r in message.results}.items():
            yield SlotDied(
                round=message.round, lease=lease, candidate=candidate, slot=0, cause="exit",
                detail=RUDE, peak_bytes=0, seconds=0.0,
            )  # fmt: skip

    X, y = data()
    nodes = Nodes(1, lambda name, times, own: Meddling(own, rude))
    with Driven(nodes, QueuePolicies(retry=RetryPolicy(retries=0))) as run:
        run.fit(tree_search(error_score=0.0), X, y)
    assert run.watch.failures
    assert all("owned" in detail for detail in run.watch.failures)
    assert all("\x1b" not in detail for detail in run.watch.failures)
    assert all("\x1b" not in (outcome.fit_error or "") for outcome in run.watch.outcomes)
    assert all(len(detail) < 1000 for detail in run.watch.failures)


def test_a_node_greets_once() -> None:
    """A node that greets a second time is dropped."""

    def twice(message: Any) -> Iterable[Any]:
        yield message
        if isinstance(message, Greeting):
            yield msgspec.structs.replace(message, slots=1000)

    run = run_beside(lambda own: Meddling(own, twice))

    assert all("two greetings" in reason for _, reason in run.watch.reasons)


@pytest.mark.parametrize("slots", [0, -1, 10**6])
def test_a_node_with_an_impossible_number_of_slots_is_dropped(slots: int) -> None:
    """A greeting with an impossible number of slots is invalid."""

    def boastful(message: Any) -> Iterable[Any]:
        greets = isinstance(message, Greeting)
        yield msgspec.structs.replace(message, slots=slots) if greets else message

    run = run_beside(lambda own: Meddling(own, boastful))

    assert all("broke the protocol" in reason for _, reason in run.watch.reasons)


def test_a_node_that_never_becomes_ready_does_not_hold_the_run_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that sends heartbeats and never becomes ready is lost, also if all are awaited."""
    monkeypatch.setattr(limits, "PREPARE", 8.0)

    def unready(message: Any) -> Iterable[Any]:
        if not isinstance(message, RoundReady):
            yield message

    def wrap(name: str, times: int, own: LocalProcess) -> Transport:
        return Meddling(own, unready) if (name, times) == ("node-1", 0) else own

    X, y = data()
    with Driven(Nodes(2, wrap), min_nodes=2) as run:
        assert_as_scikit_learn(run.fit(tree_search(), X, y))
    assert run.watch.reasons[0][0] == "node-1"
    assert "did not become ready" in run.watch.reasons[0][1]
