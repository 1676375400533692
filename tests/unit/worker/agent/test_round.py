"""A round on a node starts without avoidable waits."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from skygrid.worker.agent.driver_link import DriverLink
from skygrid.worker.agent.guard import SlotGuard
from skygrid.worker.agent.round import AgentRound
from skygrid.worker.errors import UnableError
from skygrid.worker.slots.pool import SlotPool
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import AgentLog, FromAgent
from skygrid.worker.wire.messages.to_agent import Lease, Setup
from skygrid.worker.wire.protocol import PROTOCOL

SLOTS = 3


class Node:
    """Round whose slots cannot be started, with the messages of its agent before each attempt.

    Parameters
    ----------
    startable : int
        Slots that can be started: processes that only sleep.
    """

    def __init__(self, startable: int = 0) -> None:
        self.startable = startable
        from_driver, self.to_agent = os.pipe()
        self.from_agent, to_driver = os.pipe()
        os.set_blocking(self.from_agent, False)
        self.said: list[Any] = []
        self.said_before_a_start: list[Any] = []
        self.waiting_at_start = 0
        self._reader = FrameReader(FromAgent)
        self.pool = SlotPool(SLOTS, self._start)
        self.pool.open_round(7, [], None)
        self.round = AgentRound(
            7,
            self.pool,
            SLOTS,
            SlotGuard(Setup(protocol=PROTOCOL)),
            DriverLink(from_driver, to_driver),
            selectors.DefaultSelector(),
        )
        self.pipes = (from_driver, self.to_agent, self.from_agent, to_driver)

    def _start(self, *_: Any) -> int:
        self.said_before_a_start = self.heard()
        self.waiting_at_start = len(self.pool.take_back(SLOTS))
        if len(self.pool.slots) < self.startable:
            # A group of its own, which the pool kills with the slot.
            return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid
        raise BlockingIOError("no process is to be had")

    def heard(self) -> list[Any]:
        """Return all messages of the agent so far."""
        with contextlib.suppress(BlockingIOError):  # nothing new
            self.said += self._reader.feed(os.read(self.from_agent, 1 << 16))
        return list(self.said)

    def turn(self) -> None:
        with pytest.raises(UnableError, match="cannot be started"):
            self.round.turn(0.0, asks=True, speaks=False)


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.pool.close()
    for pipe in made.pipes:
        os.close(pipe)


def test_leases_are_requested_once_a_slot_has_the_search(node: Node) -> None:
    """No lease is requested before a slot has loaded the search, which may fail."""
    node.turn()
    assert node.said_before_a_start == []


def test_granted_leases_are_put_before_slots_start(node: Node) -> None:
    """Granted leases are in the pipe while further slots start."""
    node.round.granted([Lease(id=number, candidate=0, split=0) for number in (1, 2)])
    node.turn()
    assert node.waiting_at_start == 2


def test_a_node_goes_on_with_the_slots_that_it_can_start() -> None:
    """Where a limit allows only some of the slots, these fit, and the log of the node says why."""
    node = Node(startable=SLOTS - 1)
    try:
        for _ in range(SLOTS):
            node.round.turn(0.0, asks=True, speaks=False)
        assert len(node.pool.slots) == SLOTS - 1
        assert not node.round.opening
        (log,) = [one for one in node.heard() if isinstance(one, AgentLog)]
        assert log.text.startswith(f"{SLOTS - 1} of {SLOTS} slots run")
        assert "no process is to be had" in log.text
    finally:
        node.pool.close()
        for pipe in node.pipes:
            os.close(pipe)
