"""A file mapped as private memory: a page is copied when the process writes to it.

Mapping a large file for every fit takes as long as copying it, because the kernel looks up each
page again. A mapping that no array uses and that was never written to is used again instead.

Source: the kernel's admin-guide/mm/pagemap, for ``/proc/PID/pagemap``: 8 bytes for each page, bit
61 of a page of a file, 62 of one that is swapped out, 63 of one that is in memory.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import IO, Any

import numpy as np

from skygrid.worker.wire.blobs import map_privately

PAGEMAP = "/proc/self/pagemap"

_ENTRY_BYTES = 8
_OF_A_FILE, _SWAPPED, _PRESENT = (np.uint64(1 << bit) for bit in (61, 62, 63))


class PrivateMapping:
    """Private mapping of a whole file.

    Parameters
    ----------
    file : file object
        Not empty. It can be closed; a lock that was taken on it with flock(2) is held until the
        mapping and all its arrays are gone.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._mapped = map_privately(file.fileno(), 0)
        self._address = np.frombuffer(self._mapped, np.uint8).ctypes.data

    def array(self, shape: tuple[int, ...], dtype: Any, offset: int) -> Any:
        """Return an array in this memory, which lives as long as the array."""
        return np.ndarray(shape, dtype, self._mapped, offset)

    def head(self, size: int) -> bytes:
        """Return the first `size` bytes."""
        return self._mapped[:size]

    @property
    def pristine(self) -> bool:
        """True if no array uses the memory and nothing was written to it. False if unknown."""
        # One reference is the attribute's, one the call's.
        return sys.getrefcount(self._mapped) <= 2 and not self._written

    @property
    def _written(self) -> bool:
        first = self._address // mmap.PAGESIZE
        end = -(-(self._address + len(self._mapped)) // mmap.PAGESIZE)
        wanted = (end - first) * _ENTRY_BYTES
        try:
            with open(PAGEMAP, "rb", buffering=0) as pagemap:
                entries = os.pread(pagemap.fileno(), wanted, first * _ENTRY_BYTES)
        except OSError:  # unknown without /proc: expect the worst
            return True
        if len(entries) < wanted:
            return True
        pages = np.frombuffer(entries, np.uint64)
        # A page that was written to is no longer the file's.
        own = pages & (_PRESENT | _OF_A_FILE) == _PRESENT
        return bool(own.any() or (pages & _SWAPPED).any())
