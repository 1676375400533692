"""The kit of a run's nodes, requested by several threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from skygrid.environment.awaited_kit import AwaitedKit
from skygrid.environment.settings import EnvironmentConfig
from tests.processes import WAIT_SECONDS

THREADS = 4


def test_threads_that_start_together_have_one_kit() -> None:
    """Each thread waits until the kit exists."""
    kit = AwaitedKit(EnvironmentConfig())
    together = threading.Barrier(THREADS)

    def make(_: int) -> bool:
        together.wait(WAIT_SECONDS)
        kit.make({"numpy"})
        return kit.future.done()

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(make, range(THREADS), timeout=WAIT_SECONDS))
