"""The carrier of an agent on a cluster's node: real agents, no cluster."""

from __future__ import annotations

import asyncio
import signal
import struct
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from skygrid.nodes.gateway import carrier as module
from skygrid.nodes.gateway.carrier import DATA, ENDED, HEADER, LOG, AgentCarrier, identity
from skygrid.nodes.gateway.cluster import GatewaySettings
from skygrid.nodes.gateway.server import start_order
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import FromAgent, Greeting
from tests.processes import WAIT_SECONDS, leaving_nothing

SETTINGS = GatewaySettings(
    place={},
    nodes=1,
    slots=1,
    hash_seed=7,
    connect_seconds=1.0,
    start_seconds=1.0,
    lease_seconds=1.0,
    folder="",
)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine; nothing may be left."""
    with leaving_nothing():
        asyncio.run(asyncio.wait_for(work, WAIT_SECONDS))


async def parcels(carrier: AgentCarrier) -> dict[bytes, bytes]:
    """Return all output up to the end, by kind."""
    found: dict[bytes, bytes] = {}
    while data := await carrier.read():
        while data:
            kind, size = struct.unpack_from(HEADER, data)
            begin = struct.calcsize(HEADER)
            found[kind] = found.get(kind, b"") + data[begin : begin + size]
            data = data[begin + size :]
    return found


def order(**changes: Any) -> dict[str, Any]:
    return start_order(SETTINGS, 1) | changes


@pytest.mark.parametrize("origin", [identity(), ["elsewhere"]], ids=["shared", "sent"])
def test_an_agent_starts_with_and_without_the_code(origin: list[Any]) -> None:
    """An agent greets on the driver's machine, and where the worker's code has to be sent."""

    async def work() -> None:
        carrier = AgentCarrier(WAIT_SECONDS)
        assert await carrier.start(order(origin=origin)) == ""
        await carrier.close_input()
        said = await parcels(carrier)
        assert said[ENDED] == b"exit code 0"
        (greeting,) = FrameReader(FromAgent).feed(said[DATA])
        assert isinstance(greeting, Greeting)
        assert greeting.slots == 1

    run(work())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"minor": "2.7"}, "it is Python 3"),
        ({"arguments": ["--no-such-option"]}, "unrecognized arguments"),
    ],
)
def test_an_agent_that_cannot_run_is_explained(changes: dict[str, Any], reason: str) -> None:
    """Another Python is named before the agent starts; an agent that ends is quoted."""

    async def work() -> None:
        carrier = AgentCarrier(WAIT_SECONDS)
        problem = await carrier.start(order(**changes))
        if problem:
            assert reason in problem
        else:
            assert reason in (await parcels(carrier))[LOG].decode()

    run(work())


def test_a_killed_agent_is_named() -> None:
    """The end of an agent that was killed names the signal."""

    async def work() -> None:
        carrier = AgentCarrier(WAIT_SECONDS)
        await carrier.start(order())
        await carrier.kill()
        assert (await parcels(carrier))[ENDED] == b"killed by SIGKILL"

    run(work())


def test_an_agent_without_a_driver_is_killed() -> None:
    """A carrier that is not read for a lease kills its agent: a cluster may keep the carrier."""

    async def work() -> None:
        carrier = AgentCarrier(0.5)
        await carrier.start(order())
        agent = psutil.Process(carrier._process.pid)
        await asyncio.to_thread(agent.wait, WAIT_SECONDS)

    run(work())


def test_data_is_a_file_that_the_agent_can_map() -> None:
    """Stored data is a file with these bytes until it is forgotten."""

    async def work() -> None:
        carrier = AgentCarrier(WAIT_SECONDS)
        data = np.arange(1000, dtype=np.uint8)
        path = await carrier.store("digest", data)
        assert await asyncio.to_thread(Path(path).read_bytes) == data.tobytes()
        assert await carrier.store("digest", data) == path
        await carrier.forget("digest")
        assert not await asyncio.to_thread(Path(path).exists)

    run(work())


def test_the_agent_inherits_no_blocked_signal() -> None:
    """Signals that the cluster's threads block are not blocked in the agent."""

    async def work() -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            carrier = AgentCarrier(WAIT_SECONDS)
            await carrier.start(order())
            agent = psutil.Process(carrier._process.pid)
            status = await asyncio.to_thread(Path(f"/proc/{agent.pid}/status").read_text)
            assert "SigBlk:\t0000000000000000\n" in status
            await carrier.close_input()
            await parcels(carrier)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    run(work())


def test_the_class_travels_by_value() -> None:
    """The carrier can be pickled for nodes without skygrid: it needs the standard library only."""
    import subprocess
    import sys

    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    try:
        pickled = cloudpickle.dumps(AgentCarrier)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    script = (
        "import sys, pickle; cls = pickle.load(sys.stdin.buffer); cls(1.0);"
        "print([name for name in sys.modules if name.startswith('skygrid')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickled, check=True, capture_output=True
    )
    assert done.stdout.strip() == b"[]"
