"""Status of each slot, in memory that agent and slots share.

A slot updates its record without a system call. The agent reads it to check limits and when a slot
has died. Each slot has one record, little-endian:

    u64 lease, 0 for none | f64 monotonic time of its start | u64 candidate
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from typing import IO, NamedTuple

_RECORD = struct.Struct("<QdQ")


class SlotStatus(NamedTuple):
    """Record of one slot."""

    lease: int
    """Lease that runs now; 0: none. Lease numbers start at 1."""

    started: float
    """`time.monotonic()` when the lease started, comparable between processes of the machine. In a
    lease for several candidates: when the previous candidate was done."""

    candidate: int = 0
    """Candidate that the slot is fitting or will report next."""


class StatusPage:
    """The records of all slots of a node.

    Parameters
    ----------
    slots : int
    file : file object, optional
        File of a page that another process made; None makes a new page.
    """

    def __init__(self, slots: int, file: IO[bytes] | None = None) -> None:
        size = _RECORD.size * slots
        if file is None:
            file = tempfile.TemporaryFile()  # noqa: SIM115 (the page needs it open)
            file.truncate(size)
        self.file = file
        self._page = mmap.mmap(file.fileno(), size)

    def begin(self, slot: int, lease: int, candidate: int, now: float) -> None:
        """Record that a slot starts a lease, or the next candidate of one."""
        _RECORD.pack_into(self._page, _RECORD.size * slot, lease, now, candidate)

    def end(self, slot: int) -> None:
        """Record that nothing runs in the slot."""
        _RECORD.pack_into(self._page, _RECORD.size * slot, 0, 0.0, 0)

    def read(self, slot: int) -> SlotStatus:
        """Return the slot's record."""
        return SlotStatus(*_RECORD.unpack_from(self._page, _RECORD.size * slot))
