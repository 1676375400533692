"""When an agent ends a slot for the memory that is held."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skygrid.worker.guard import SlotGuard
from skygrid.worker.messages import Setup

LIMIT = 1000


class Pool:
    """Two slots that hold 300 and 400 bytes."""

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
    """Samples in files take of the slots' limit what copies of their own would take."""
    with (tmp_path / name).open("wb") as file:
        file.truncate(size)
    pool: Any = Pool()
    setup = Setup(protocol=1, memory_limit_bytes=LIMIT)
    SlotGuard(setup, tmp_path).watch(pool, 1.0)
    assert pool.killed == killed
