"""A file that several processes write together, a portion each at a time.

Which portions are written stands in the file itself, in a ledger of little-endian doubles: 0 until
a portion is there, then the seconds that it took. Whoever writes a portion has a lock on its place
in the ledger. The kernel frees the locks of a process that ends, however it ends, and what that has
not written another one writes. A child that is forked meanwhile inherits no such lock.

Source: fcntl(2), "Advisory record locking".
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable

_PLACE = struct.Struct("<d")
_WRITTEN = 1e-9
"""Seconds, at the least, of a portion that is there."""


def ledger_bytes(portions: int) -> int:
    """Size of the ledger of so many portions, which a new file has as zeros."""
    return portions * _PLACE.size


def write_together(file: int, ledger: int, portions: int, write: Callable[[int], float]) -> float:
    """Write what is missing, together with all who do the same.

    Parameters
    ----------
    file : int
        File descriptor, open for reading and writing. The process has no other one of this file
        that it might close meanwhile: the locks would go with it.
    ledger : int
        Offset of the ledger in the file.
    portions : int
        How many there are.
    write : callable
        Writes a portion, given its number; returns the seconds that count.

    Returns
    -------
    seconds : float
        Of all portions, all slots together. Every portion is written.
    """
    written = _Ledger(file, ledger, portions)
    while missing := [number for number, seconds in enumerate(written.read()) if not seconds]:
        had_some = [written.add(number, write, wait=False) for number in missing]
        if not any(had_some):
            # All in other hands: that of a process that dies comes free.
            written.add(missing[0], write, wait=True)
    return sum(written.read())


class _Ledger:
    def __init__(self, file: int, offset: int, portions: int) -> None:
        self._file, self._offset, self._portions = file, offset, portions

    def read(self) -> list[float]:
        data = os.pread(self._file, ledger_bytes(self._portions), self._offset)
        return [seconds for (seconds,) in _PLACE.iter_unpack(data)]

    def add(self, number: int, write: Callable[[int], float], *, wait: bool) -> bool:
        """See to it that a portion is there; False where another process does."""
        place = self._offset + number * _PLACE.size
        try:
            flags = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
            fcntl.lockf(self._file, flags, _PLACE.size, place)
        except (BlockingIOError, PermissionError):  # POSIX has either
            return False
        try:
            if os.pread(self._file, _PLACE.size, place) == bytes(_PLACE.size):
                seconds = max(_WRITTEN, write(number))
                os.pwrite(self._file, _PLACE.pack(seconds), place)
            return True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _PLACE.size, place)
