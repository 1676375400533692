"""Handling of SIGINT (Ctrl-C), SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

from skygrid.errors import InterruptedRunError
from skygrid.util.process import handled_signals, note_signal


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
        for number in handled_signals():
            self._before[number] = signal.signal(number, self._on_signal)
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
        note_signal(number)
        self._count += 1
        if self._count == 1 and self._ask():
            return
        if self._count > 1:
            self._force()
        raise InterruptedRunError("interrupted")
