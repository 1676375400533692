"""A node that means harm: it is dropped with a reason, and the search goes on without it.

The hostile node is one of two; the other one is honest. What the hostile one says takes the place
of what a real agent said.
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

from skygrid.nodes.interface import Transport
from skygrid.nodes.local_process import LocalProcess
from skygrid.queue.policies import QueuePolicies, RetryPolicy
from skygrid.worker.wire.frames import HEADER, MAX_FRAME, encode
from skygrid.worker.wire.messages import (
    FitResult,
    Greeting,
    Heartbeat,
    Pull,
    Refusal,
    Report,
    SlotDied,
    TypedNumber,
)
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
    """Passes the agent's first words on, and then says something else for ever."""

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
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


def framed(payload: bytes) -> bytes:
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def run_beside(wrap: Callable[[LocalProcess], Transport], **settings: Any) -> Driven:
    """The search on an honest node and one that is wrapped whenever it is started.

    The honest one would have done it all before the other one has come up, were it not held until
    that one is lost, or until both are ready (`min_nodes`).
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
    """Bytes that are no message end the node, with the reason, and nothing but the node."""
    run = run_beside(lambda own: Interrupting(own, says))

    assert all("broke the protocol" in reason for _, reason in run.watch.reasons)


def test_a_pickle_is_not_unpickled(tmp_path: Path) -> None:
    """A pickle in the place of a message is never opened, wherever it is put."""
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
    """Of ten million messages a small part is ever read; the node is dropped for it."""
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
def test_outcomes_of_fits_that_were_never_given_end_the_node(lease: int) -> None:
    """A node that reports what it was never given is a liar, and none of its lies is recorded."""

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


RUDE = "\x1b]0;owned\x07\x1b[2J" + "y" * 100_000


def test_a_refusal_is_fit_for_a_terminal() -> None:
    """A refusal full of escape sequences is shown without them, and not in all its length."""

    def rude(message: Any) -> Iterable[Any]:
        yield Refusal(reason=RUDE) if isinstance(message, Greeting) else message

    run = run_beside(lambda own: Meddling(own, rude))

    ((_, reason),) = run.watch.reasons
    assert "owned" in reason
    assert "\x1b" not in reason
    assert len(reason) < 3000


def test_what_a_node_says_of_itself_is_fit_for_a_table() -> None:
    """Host, processor and versions reach tables and the journal without escape sequences."""

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


def test_a_death_is_told_fit_for_a_terminal() -> None:
    """What a node says of a slot's death is shown without escape sequences."""
    reports: list[Report] = []

    def rude(message: Any) -> Iterable[Any]:
        if isinstance(message, Report):
            reports.append(message)
        # The first fits are said to have died; not all of them, or the search would fail.
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
    """A node that says a second time what it is, is dropped: its first word counted."""

    def twice(message: Any) -> Iterable[Any]:
        yield message
        if isinstance(message, Greeting):
            yield msgspec.structs.replace(message, slots=1000)

    run = run_beside(lambda own: Meddling(own, twice))

    assert all("two greetings" in reason for _, reason in run.watch.reasons)


@pytest.mark.parametrize("slots", [0, -1, 10**6])
def test_a_node_with_slots_that_nobody_has_is_dropped(slots: int) -> None:
    """Slots are a number that a machine may have; anything else is no greeting."""

    def boastful(message: Any) -> Iterable[Any]:
        greets = isinstance(message, Greeting)
        yield msgspec.structs.replace(message, slots=slots) if greets else message

    run = run_beside(lambda own: Meddling(own, boastful))

    assert all("broke the protocol" in reason for _, reason in run.watch.reasons)
