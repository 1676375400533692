"""Handling of SIGINT (Ctrl-C), SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from skygrid.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Context in which the first signal calls `ask` and the second calls `force`.

    Parameters
    ----------
    ask : callable
        Called in the main thread, between two bytecodes. Returns True if the run will stop by
        itself; otherwise `InterruptedRunError` is raised at once.
    force : callable
        `InterruptedRunError` is raised after it.
    """

    def __init__(self, ask: Callable[[], bool], force: Callable[[], None]) -> None:
        self._ask = ask
        self._force = force
        self._count = 0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupts:
        # Python sets and runs handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal() returned it

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1 and self._ask():
            return
        if self._count > 1:
            self._force()
        raise InterruptedRunError("interrupted")
