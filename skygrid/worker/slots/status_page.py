"""What each slot is doing, in memory that agent and slots share.

A slot writes where it stands with two stores and no system call; the agent reads it when a fit
takes long and when a slot has died. One record for each slot, little-endian:

    u64 lease, 0 when none | f64 monotonic time of its start | u64 candidate
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from typing import IO, NamedTuple

_RECORD = struct.Struct("<QdQ")


class SlotStatus(NamedTuple):
    """One slot's record."""

    lease: int
    """Lease that runs now, 0 when none. Lease numbers start at 1."""

    started: float
    """`time.monotonic()` when it started; the clock is the machine's, the same in every process."""

    candidate: int = 0
    """Of a lease for several candidates the one that comes next; `started` is then when the one
    before it was done."""


class StatusPage:
    """The records of all slots of a node.

    Parameters
    ----------
    slots : int
    file : file object, optional
        The page's file in a process that did not make it; None makes one.
    """

    def __init__(self, slots: int, file: IO[bytes] | None = None) -> None:
        size = _RECORD.size * slots
        if file is None:
            file = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the page is used
            file.truncate(size)
        self.file = file
        self._page = mmap.mmap(file.fileno(), size)

    def begin(self, slot: int, lease: int, candidate: int, now: float) -> None:
        """The slot starts a lease, or the next candidate of one."""
        _RECORD.pack_into(self._page, _RECORD.size * slot, lease, now, candidate)

    def end(self, slot: int) -> None:
        """Nothing runs in the slot."""
        _RECORD.pack_into(self._page, _RECORD.size * slot, 0, 0.0, 0)

    def read(self, slot: int) -> SlotStatus:
        """The slot's record."""
        return SlotStatus(*_RECORD.unpack_from(self._page, _RECORD.size * slot))
