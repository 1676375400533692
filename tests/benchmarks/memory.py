"""Memory of a process and its descendants, with shared pages counted once."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import psutil

SAMPLE_SECONDS = 0.02


def proportional_bytes(processes: Iterable[psutil.Process]) -> int:
    """Return the sum of proportional set sizes: a page that n processes map counts 1/n in each."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # the process ended after it was listed
    return total


class PeakMemory:
    """Samples the memory of this process and its descendants, in a separate thread."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        root = psutil.Process()
        while not self._over.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, proportional_bytes((root, *root.children(recursive=True))))
