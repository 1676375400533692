"""Handling of SIGINT (Ctrl-C), SIGTERM and SIGHUP."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from skygrid.errors import InterruptedRunError
from skygrid.util.process import handled_signals, note_signal

ACKNOWLEDGED = "interrupted: stopping; once more to stop at once"


_active: list[int] = []
"""Pipes of the blocks of `acknowledged` that are open."""


def acknowledges() -> bool:
    """Return whether signals are acknowledged when they arrive."""
    return bool(_active)


@contextmanager
def acknowledged(say: Callable[[str], None]) -> Iterator[None]:
    """Acknowledge the first signal of the block at once.

    Python runs a signal's handler between two bytecodes of the main thread, which may be minutes
    later: a refit is one call of compiled code. The byte that the interpreter writes for each
    signal is read by another thread.

    Parameters
    ----------
    say : callable
        Receives the text, in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal arrives here
        return
    reader, writer = os.pipe()
    _active.append(writer)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    known = {int(number) for number in handled_signals()}

    def listen() -> None:
        said = False
        while byte := os.read(reader, 1):
            if byte[0] in known and not said:
                said = True
                say(ACKNOWLEDGED)

    thread = threading.Thread(target=listen, name="acknowledge", daemon=True)
    thread.start()
    try:
        yield
    finally:
        _active.remove(writer)
        signal.set_wakeup_fd(before)
        os.close(writer)
        thread.join()
        os.close(reader)


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
