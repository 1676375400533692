"""The threads that BLAS and OpenMP libraries may use in a slot.

To find these libraries among all that a process has loaded takes as long as to fork it. An agent
therefore looks for them, while nobody waits for it, and its slots have what it found.
"""

from __future__ import annotations

import ctypes
import sys

from threadpoolctl import ThreadpoolController


class _LoadedObject(ctypes.Structure):
    """The beginning of ``struct dl_phdr_info``. Source: dl_iterate_phdr(3)."""

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
    """A number that grows whenever this process loads a library."""
    if sys.platform != "linux":
        # Python comes by such a library by an import; most imports bring none.
        return len(sys.modules)
    adds = 0

    def on_object(loaded: ctypes._Pointer[_LoadedObject], _size: int, _data: int | None) -> int:
        nonlocal adds
        adds = loaded.contents.adds
        return 1  # each object has the same number: no more of them

    ctypes.CDLL(None).dl_iterate_phdr(_ON_OBJECT(on_object), None)
    return adds


class ThreadPools:
    """The libraries of this process that have threads of their own.

    Parameters
    ----------
    threads : int
        How many threads a fit may use.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._loads = 0
        self._controller: ThreadpoolController | None = None
        self.limited = False
        """Whether they were found to be limited when they were looked for last."""

    def look(self) -> ThreadpoolController:
        """Find them, anew only if a library was loaded; and whether they are limited."""
        loads = loads_so_far()
        if self._controller is None or self._loads != loads:
            self._loads = loads
            self._controller = ThreadpoolController()
        pools = self._controller.lib_controllers
        self.limited = all(pool.get_num_threads() == self._threads for pool in pools)
        return self._controller

    def limit(self) -> None:
        """Limit them for the life of this process."""
        self.look().limit(limits=self._threads)
