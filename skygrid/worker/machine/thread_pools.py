"""Limits on the threads of BLAS and OpenMP libraries in a slot.

Finding these libraries among all loaded ones takes as long as a fork. The agent therefore searches
for them while it is idle, and forked slots inherit the result.
"""

from __future__ import annotations

import ctypes
import sys

from threadpoolctl import ThreadpoolController


class _LoadedObject(ctypes.Structure):
    """First fields of ``struct dl_phdr_info``. Source: dl_iterate_phdr(3)."""

    _fields_ = (
        ("addr", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("phdr", ctypes.c_void_p),
        ("phnum", ctypes.c_uint16),
        ("adds", ctypes.c_ulonglong),
        ("subs", ctypes.c_ulonglong),
    )


_ON_OBJECT = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(_LoadedObject), ctypes.c_size_t, ctypes.c_void_p
)


def loads_so_far() -> int:
    """Return a number that grows whenever this process loads a library."""
    if sys.platform != "linux":
        # Imports are the usual way to load a library.
        return len(sys.modules)
    adds = 0

    def on_object(loaded: ctypes._Pointer[_LoadedObject], _size: int, _data: int | None) -> int:
        nonlocal adds
        adds = loaded.contents.adds
        return 1  # stop: every object has the same count

    ctypes.CDLL(None).dl_iterate_phdr(_ON_OBJECT(on_object), None)
    return adds


class ThreadPools:
    """Thread pools of the libraries in this process.

    Parameters
    ----------
    threads : int
        Threads that a fit may use.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._loads = 0
        self._controller: ThreadpoolController | None = None
        self.limited = False
        """True if all libraries were limited at the last `look`."""

    def look(self) -> ThreadpoolController:
        """Update `limited` and return a controller, a new one only if libraries were loaded."""
        loads = loads_so_far()
        if self._controller is None or self._loads != loads:
            self._loads = loads
            self._controller = ThreadpoolController()
        pools = self._controller.lib_controllers
        self.limited = all(pool.get_num_threads() == self._threads for pool in pools)
        return self._controller

    def limit(self) -> None:
        """Limit the libraries for the life of this process."""
        self.look().limit(limits=self._threads)
