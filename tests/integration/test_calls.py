"""Calls on nodes whose messages are counted, held up and changed."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import msgspec
import numpy as np
import pytest
from joblib import Parallel, delayed

from skygrid.engine import calls as calls_module
from skygrid.errors import CallKilledError
from skygrid.joblib_backend.backend import SkygridBackend
from skygrid.joblib_backend.pool import CallPool
from skygrid.nodes.interface import Transport
from skygrid.nodes.local_process import LocalProcess
from skygrid.queue.policies import QueuePolicies
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.calls import CallReport, FetchResult, ResultPart
from skygrid.worker.wire.messages.from_agent import Heartbeat
from skygrid.worker.wire.messages.results import Report
from skygrid.worker.wire.messages.to_agent import DropBlobs, ToAgent
from tests.driven import Driven, Meddling, Nodes, Passing, once

pytestmark = pytest.mark.usefixtures("nothing_left")

LARGE = 1_000_000
"""Numbers in a large array: 8 MB."""


class OwnCluster:
    """A cluster of the engine of a test."""

    def __init__(self, run: Driven) -> None:
        self._pool = CallPool(run.engine, QueuePolicies(speculation=None))

    def call_pool(self, *, trust_nodes: bool) -> CallPool:
        return self._pool


@contextmanager
def on(nodes: Nodes) -> Iterator[Driven]:
    """Run joblib's calls on these nodes."""
    with Driven(nodes) as run, joblib.parallel_config(SkygridBackend(OwnCluster(run))):
        yield run


class Counting(Passing):
    """Transport without shared files that counts the driver's bytes and keeps its messages."""

    def __init__(self, own: LocalProcess, sent: list[Any]) -> None:
        super().__init__(own)
        self.bytes = 0
        self._sent = sent
        self._reader = FrameReader(ToAgent)

    def write(self, data: bytes) -> None:
        self.bytes += len(data)
        self._sent += self._reader.feed(data)
        self._own.write(data)


def counted(count: int) -> tuple[Nodes, list[Counting], list[Any]]:
    """Return nodes, their transports and the messages that they receive."""
    made: list[Counting] = []
    sent: list[Any] = []

    def wrap(name: str, times: int, own: LocalProcess) -> Transport:
        made.append(Counting(own, sent))
        return made[-1]

    return Nodes(count, wrap), made, sent


def total(array: Any, number: int) -> float:
    return float(array[number:].sum())


def random(seed: int) -> Any:
    return np.random.default_rng(seed).random(LARGE)


def test_a_large_argument_travels_once_to_each_node() -> None:
    """An array of many calls in many loops is sent once to each node, as the bytes that it has."""
    array = random(0)
    nodes, made, _ = counted(2)
    with on(nodes):
        for _ in range(3):
            found = Parallel(batch_size=1)(delayed(total)(array, i) for i in range(10))
            assert found == [total(array, i) for i in range(10)]
    assert len(made) == 2
    assert all(one.bytes < 1.05 * array.nbytes for one in made)


def test_a_large_argument_outlives_a_round() -> None:
    """The node keeps an array when a round of calls follows another one."""
    array = random(0)
    nodes, (made), _ = counted(1)
    with on(nodes) as run:
        cluster = OwnCluster(run)
        with joblib.parallel_config(SkygridBackend(cluster)):
            for _ in range(3):
                assert Parallel()([delayed(total)(array, 0)]) == [array.sum()]
                cluster.call_pool(trust_nodes=True).release()
    assert made[0].bytes < 1.05 * array.nbytes


def test_arguments_that_are_not_used_any_more_are_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node keeps the arrays that were used last, up to a limit, and gets others again."""
    monkeypatch.setattr(calls_module, "NODE_SHARE", 10**9)
    nodes, _, sent = counted(1)
    arrays = [random(seed) for seed in range(3)]
    with on(nodes):
        for array in [*arrays, *arrays]:
            assert Parallel()([delayed(total)(array, 0)]) == [array.sum()]
    assert any(isinstance(message, DropBlobs) for message in sent)


def make(number: int) -> Any:
    return np.full(LARGE, number)


def test_large_results_come_in_parts_between_other_messages() -> None:
    """Results of many megabytes are fetched part by part; heartbeats pass between them."""
    heard: list[Any] = []

    def listen(message: Any) -> Iterable[Any]:
        heard.append(message)
        return [message]

    with on(Nodes(1, lambda name, times, own: Meddling(own, listen), slots=2)) as run:
        found = Parallel(batch_size=1)(delayed(make)(i) for i in range(6))
        assert [one[0] for one in found] == list(range(6))
        assert {one.nbytes for one in found} == {8 * LARGE}
        assert not run.watch.reasons
    parts = [message for message in heard if isinstance(message, ResultPart)]
    assert len(parts) >= 6 * 8
    assert all(len(message.data) <= 2**20 for message in parts)


def square(number: int) -> int:
    return number * number


def unasked(message: Any) -> Iterable[Any]:
    """Add a part of a result that was not requested."""
    if isinstance(message, CallReport):
        yield ResultPart(round=message.round, lease=1, offset=0, data=b"x")
    yield message


def foreign(message: Any) -> Iterable[Any]:
    """Report results of fits."""
    if isinstance(message, CallReport):
        yield Report(round=message.round, results=[])
    yield message


def invented(message: Any) -> Iterable[Any]:
    """Report a lease that was never given."""
    if isinstance(message, CallReport):
        results = [msgspec.structs.replace(one, lease=10**6) for one in message.results]
        yield msgspec.structs.replace(message, results=results)
    yield message


def disordered(message: Any) -> Iterable[Any]:
    """Send parts of results in another order."""
    if isinstance(message, ResultPart):
        yield msgspec.structs.replace(message, offset=message.offset + 1)
    else:
        yield message


def lost_file(message: Any) -> Iterable[Any]:
    """Send an empty part, as for a result whose file is gone."""
    if isinstance(message, ResultPart):
        yield msgspec.structs.replace(message, data=b"")
    else:
        yield message


@pytest.mark.parametrize("meddle", [unasked, foreign, invented, disordered, lost_file])
def test_a_node_that_lies_is_replaced(meddle: Callable[[Any], Iterable[Any]]) -> None:
    """Messages that cannot be true cost the node its place; its calls run on the next one."""

    def wrap(name: str, times: int, own: LocalProcess) -> Transport:
        return Passing(own) if times else Meddling(own, meddle)

    with on(Nodes(1, wrap)) as run:
        found = Parallel(batch_size=1, n_jobs=2)(delayed(make)(i) for i in range(3))
        assert [one[0] for one in found] == [0, 1, 2]
        assert len(run.watch.reasons) == 1


def test_a_node_that_is_lost_while_its_result_is_fetched() -> None:
    """A result that did not arrive whole is computed again."""
    nodes: list[Nodes] = []

    @once
    def killed() -> None:
        nodes[0].made["node-1"][0].kill()

    def cut(message: Any) -> Iterable[Any]:
        if isinstance(message, ResultPart) and message.offset:
            killed()
            return []
        return [message]

    def wrap(name: str, times: int, own: LocalProcess) -> Transport:
        return Passing(own) if times else Meddling(own, cut)

    nodes.append(Nodes(1, wrap))
    with on(nodes[0]) as run:
        found = Parallel(batch_size=1, n_jobs=2)(delayed(make)(i) for i in range(3))
        assert [one[0] for one in found] == [0, 1, 2]
        assert run.watch.losses == 1


def end_slot(number: int) -> None:
    os._exit(number)


def test_the_first_call_takes_its_slot_down() -> None:
    """The very first call of a cluster is given up too if it ends its slot each time."""
    with on(Nodes(1)) as run:
        with pytest.raises(CallKilledError, match=r"^call 0, end_slot\(3\): .*exit code 3"):
            Parallel(n_jobs=2)([delayed(end_slot)(3)])
        assert len(run.watch.failures) == 3
        assert Parallel(n_jobs=2)([delayed(square)(3)]) == [9]


def test_a_late_node_gets_calls() -> None:
    """A node that joins while a loop runs gets the arguments and a share of the calls."""
    array = random(1)
    joined, fact = threading.Event(), threading.Event()

    def numbers() -> Iterator[Any]:
        for number in itertools.count():
            if joined.is_set() and number > 10:
                return
            if number == 10:
                fact.set()
            yield delayed(total)(array, number)

    class Late(Passing):
        def read(self) -> bytes:
            fact.wait(60)
            return self._own.read()

    def meddle(message: Any) -> Iterable[Any]:
        if isinstance(message, CallReport):
            joined.set()
        return [message]

    def wrap(name: str, times: int, own: LocalProcess) -> Transport:
        return own if name == "node-1" else Meddling(Late(own), meddle)

    with on(Nodes(2, wrap)):
        found = Parallel(batch_size=1, n_jobs=4)(numbers())
        assert found == [total(array, i) for i in range(len(found))]
    assert joined.is_set()


def test_fetch_requests_count_as_work() -> None:
    """Requests for parts raise the limit of the node's messages; see `link.MESSAGES_PER_LEASE`."""
    nodes, _, sent = counted(1)
    with on(nodes) as run:
        Parallel(n_jobs=2)([delayed(make)(1)])
        assert not run.watch.reasons
    asked = [message for message in sent if isinstance(message, FetchResult)]
    assert [message.offset for message in asked] == sorted(message.offset for message in asked)
    assert not any(isinstance(message, Heartbeat) for message in sent)
