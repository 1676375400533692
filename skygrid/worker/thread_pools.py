"""The threads that BLAS and OpenMP libraries may use in a slot.

To find these libraries among all that a process has loaded takes longer than to fork it. An agent
therefore looks for them, while nobody waits for it, and its slots have what it found.
"""

from __future__ import annotations

import sys

from threadpoolctl import ThreadpoolController


class ThreadPools:
    """The libraries of this process that have threads of their own.

    Parameters
    ----------
    threads : int
        How many threads a fit may use.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._modules = 0
        self._controller: ThreadpoolController | None = None

    def look(self) -> ThreadpoolController:
        """Find them; anew only after an import, which is how Python comes by such a library."""
        if self._controller is None or self._modules != len(sys.modules):
            self._modules = len(sys.modules)
            self._controller = ThreadpoolController()
        return self._controller

    def limit(self) -> None:
        """Limit them for the life of this process."""
        self.look().limit(limits=self._threads)
