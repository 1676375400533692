"""A file that several processes write together, a portion each at a time.

The file has a ledger of little-endian doubles, one for each portion: 0 until the portion is
written, then the seconds that it took. A process locks the portion's place in the ledger while it
writes. The kernel frees the locks of a process that ends, so another process can write the portion.
A forked child inherits no such lock.

Source: fcntl(2), "Advisory record locking".
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable

_PLACE = struct.Struct("<d")
_WRITTEN = 1e-9
"""Least number of seconds in the ledger for a written portion."""


def ledger_bytes(portions: int) -> int:
    """Return the size of a ledger in bytes. In a new file it is filled with zeros."""
    return portions * _PLACE.size


def write_together(file: int, ledger: int, portions: int, write: Callable[[int], float]) -> float:
    """Write the missing portions, together with other processes that call this.

    Parameters
    ----------
    file : int
        File descriptor, open for reading and writing. The process must not close another
        descriptor of this file meanwhile: that would free the locks.
    ledger : int
        Offset of the ledger in the file.
    portions : int
        Number of portions.
    write : callable
        Writes the portion with this number; returns the seconds for the ledger.

    Returns
    -------
    seconds : float
        Sum over all portions, which are written now.
    """
    written = _Ledger(file, ledger, portions)
    while missing := [number for number, seconds in enumerate(written.read()) if not seconds]:
        had_some = [written.add(number, write, wait=False) for number in missing]
        if not any(had_some):
            # Other processes write them all: wait for one, in case its process dies.
            written.add(missing[0], write, wait=True)
    return sum(written.read())


class _Ledger:
    def __init__(self, file: int, offset: int, portions: int) -> None:
        self._file, self._offset, self._portions = file, offset, portions

    def read(self) -> list[float]:
        data = os.pread(self._file, ledger_bytes(self._portions), self._offset)
        return [seconds for (seconds,) in _PLACE.iter_unpack(data)]

    def add(self, number: int, write: Callable[[int], float], *, wait: bool) -> bool:
        """Write a portion if it is missing; return False if another process writes it."""
        place = self._offset + number * _PLACE.size
        try:
            flags = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
            fcntl.lockf(self._file, flags, _PLACE.size, place)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            return False
        try:
            if os.pread(self._file, _PLACE.size, place) == bytes(_PLACE.size):
                seconds = max(_WRITTEN, write(number))
                os.pwrite(self._file, _PLACE.pack(seconds), place)
            return True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _PLACE.size, place)
