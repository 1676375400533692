"""Ctrl-C once and twice, and SIGTERM like it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from skygrid.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While entered, the first signal asks nicely and the second ends at once.

    Parameters
    ----------
    ask : callable
        Called at the first signal, in the main thread between two bytecodes. Returns whether
        somebody will see to it; otherwise `InterruptedRunError` is raised on the spot.
    force : callable
        Called at the second signal; `InterruptedRunError` is raised after it.
    """

    def __init__(self, ask: Callable[[], bool], force: Callable[[], None]) -> None:
        self._ask = ask
        self._force = force
        self._count = 0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupts:
        # Python runs handlers in the main thread only, and only there may they be set.
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
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() returned

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1 and self._ask():
            return
        if self._count > 1:
            self._force()
        raise InterruptedRunError("interrupted")
