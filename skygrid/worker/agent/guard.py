"""Limits of fits: time per fit, and memory of all slots of a node together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from skygrid.worker.evaluation.shared_folder import SAMPLES, files_of
from skygrid.worker.machine import machine
from skygrid.worker.slots.pool import SlotPool
from skygrid.worker.wire.messages.to_agent import Setup

MEMORY_SHARE = 0.9
"""Share of the node's memory that all slots may hold together, if the driver sets no limit."""

GUARD_SHARE = 0.05
"""Largest share of its time that an agent spends on the exact measure of the slots' memory."""


class SlotGuard:
    """Kills slots whose fits take too much time or memory.

    Parameters
    ----------
    setup : Setup
        The driver's limits.
    folder : Path, optional
        Folder of the samples that the slots share.
    clock : callable, optional
        Returns the monotonic time.
    """

    def __init__(
        self,
        setup: Setup,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._timeout = setup.fit_timeout_seconds
        self._limit = setup.memory_limit_bytes or int(machine.memory_bytes() * MEMORY_SHARE)
        self._folder = folder
        self._next_measure = 0.0

    def watch(self, pool: SlotPool, now: float) -> None:
        """Kill slots that exceed a limit; their deaths are noticed like any other."""
        if self._timeout is not None:
            for slot, record in pool.running():
                if now - record.started > self._timeout and slot.killed is None:
                    detail = f"timed out after {self._timeout:g} s"
                    pool.kill(slot, "timeout", detail, record)
        # The quick measure counts shared pages once per slot, so it is an upper bound.
        if now >= self._next_measure:
            samples = self._samples_bytes()
            if samples + sum(pool.private_bytes().values()) > self._limit:
                self._end_largest(pool, now, samples)

    def _end_largest(self, pool: SlotPool, now: float, samples: int) -> None:
        begin = self._clock()
        used = pool.unshared_bytes()
        self._next_measure = now + (self._clock() - begin) / GUARD_SHARE
        running = [(used[slot.index], slot, record) for slot, record in pool.running()]
        if samples + sum(used.values()) <= self._limit or not running:
            return
        largest, slot, record = max(running, key=lambda entry: entry[0])
        if slot.killed is None:
            detail = (
                f"held {largest / 2**30:.2f} GiB when the slots of this node together "
                f"passed {self._limit / 2**30:.2f} GiB"
            )
            pool.kill(slot, "memory", detail, record)

    def _samples_bytes(self) -> int:
        if self._folder is None:
            return 0
        sizes = 0
        for entry in files_of(self._folder, SAMPLES):
            with contextlib.suppress(FileNotFoundError):  # just deleted
                sizes += entry.stat().st_size
        return sizes
