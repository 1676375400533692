"""Limits of fits: time for each, memory for all slots of a node together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skygrid.worker.agent.guard import GUARD_SHARE, SlotGuard
from skygrid.worker.wire.messages.to_agent import Setup
from tests.clocks import ManualClock

LIMIT = 1000


class Pool:
    """Pool of two slots that hold 300 and 400 bytes."""

    def __init__(self) -> None:
        self.slots = [SimpleNamespace(index=index, killed=None) for index in range(2)]
        self.killed: list[tuple[int, str]] = []

    def private_bytes(self) -> dict[int, int]:
        return {0: 300, 1: 400}

    unshared_bytes = private_bytes

    def running(self) -> list[tuple[Any, Any]]:
        return [(slot, SimpleNamespace(started=0.0)) for slot in self.slots]

    def kill(self, slot: Any, why: str, *_: Any) -> None:
        self.killed.append((slot.index, why))


@pytest.mark.parametrize(
    ("name", "size", "killed"),
    [
        ("0-samples-train", 300, []),
        ("0-samples-train", 301, [(1, "memory")]),
        ("0-samples-train.new", 301, [(1, "memory")]),
        ("0-samples-train.lock", 301, []),
        ("0-step-0123-fit", 301, []),
    ],
)
def test_shared_samples_count_as_if_slots_held_them(
    name: str, size: int, killed: list[tuple[int, str]], tmp_path: Path
) -> None:
    """Samples in shared files count towards the slots' memory limit."""
    with (tmp_path / name).open("wb") as file:
        file.truncate(size)
    pool: Any = Pool()
    setup = Setup(protocol=1, memory_limit_bytes=LIMIT)
    SlotGuard(setup, tmp_path).watch(pool, 1.0)
    assert pool.killed == killed


def test_a_fit_beyond_its_time_is_ended_once() -> None:
    """A fit may use all of its time; its slot is ended once after that."""
    pool: Any = Pool()
    guard = SlotGuard(Setup(protocol=1, memory_limit_bytes=LIMIT, fit_timeout_seconds=60.0))
    guard.watch(pool, 60.0)
    assert pool.killed == []
    guard.watch(pool, 60.5)
    assert pool.killed == [(0, "timeout"), (1, "timeout")]
    for slot in pool.slots:
        slot.killed = "timeout"
    guard.watch(pool, 61.0)
    assert len(pool.killed) == 2


def test_the_slow_measure_takes_a_small_share_of_the_time() -> None:
    """The slow measure takes at most the share GUARD_SHARE of the time."""
    clock, measured = ManualClock(), []

    class Forked(Pool):
        """Pool that is over the limit by the quick count and below it by the slow one."""

        def private_bytes(self) -> dict[int, int]:
            return {0: 900, 1: 900}

        def unshared_bytes(self) -> dict[int, int]:
            measured.append(clock.now)
            clock.advance(1.0)
            return {0: 300, 1: 400}

    pool: Any = Forked()
    guard = SlotGuard(Setup(protocol=1, memory_limit_bytes=LIMIT), clock=clock)
    for wait in (0.0, 1 / GUARD_SHARE - 0.5):
        guard.watch(pool, 100.0 + wait)
    assert len(measured) == 1
    guard.watch(pool, 100.0 + 1 / GUARD_SHARE)
    assert len(measured) == 2
    assert pool.killed == []
