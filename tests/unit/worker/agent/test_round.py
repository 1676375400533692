"""A round on a node starts without avoidable waits."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Iterator
from typing import Any

import pytest

from skygrid.worker.agent.driver_link import DriverLink
from skygrid.worker.agent.guard import SlotGuard
from skygrid.worker.agent.round import AgentRound
from skygrid.worker.errors import UnableError
from skygrid.worker.slots.pool import SlotPool
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages import FromAgent, Lease, Setup
from skygrid.worker.wire.protocol import PROTOCOL

SLOTS = 3


class Node:
    """Round whose slots cannot be started, with the messages of its agent before each attempt."""

    def __init__(self) -> None:
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
