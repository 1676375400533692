"""The edges of the process: its standard streams, and the signals that end it."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from skygrid.errors import InterruptedRunError, SkygridError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that interrupt a command, unless the process that started it had them ignored, as
``nohup`` and shells do for jobs in the background."""


class Interruption(BaseException):
    """A signal of `SIGNALS` arrived. The command line ends with ``128 + number``.

    No `KeyboardInterrupt`, which typer catches and ends with 130 and without a word.
    """


_last = [int(signal.SIGINT)]


def last_signal() -> int:
    """Return the number of the last signal; SIGINT if none has arrived."""
    return _last[0]


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, InterruptedRunError | Interruption | KeyboardInterrupt):
        return 128 + last_signal()
    return error.exit_code if isinstance(error, SkygridError) else 1


def note_signal(number: int) -> None:
    """Remember a signal for `last_signal`."""
    _last[0] = number


def handled_signals() -> list[signal.Signals]:
    """Return the signals that this thread may handle: none but in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def interrupt_on_signals() -> None:
    """Make signals raise `Interruption`, so that clean-up runs and one line says it."""
    for number in handled_signals():
        signal.signal(number, _raise)


def _raise(number: int, *_: object) -> None:
    note_signal(number)
    raise Interruption


def process_exists(pid: int) -> bool:
    """Return whether this machine has a process of this number, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:  # it has ended
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True


class _Forgiving(io.FileIO):
    """A file whose writes never fail."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:  # the disk is full, the terminal is gone: a message is no reason to stop
            return len(memoryview(data).cast("B"))


class StdoutError(OSError):
    """Standard output cannot be written, on a full disk for example."""


class _Once(io.FileIO):
    """Standard output. The first write that fails raises, later ones do nothing.

    Python flushes its buffer again at exit, which would raise a second time.
    """

    failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        if not self.failed:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                self.failed = True
                raise
            except OSError as error:
                self.failed = True
                raise StdoutError(error.errno, error.strerror) from error
        return len(memoryview(data).cast("B"))


def open_standard_streams() -> None:
    """Open ``/dev/null`` in place of closed standard streams, and make stderr accept everything.

    Otherwise pipes and files would get the descriptors 0, 1 and 2, and be written to as if they
    were streams; and a message that cannot be written would end a run. Errors of stdout are
    `StdoutError`.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (open to the end)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Once(1, "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=sys.stdout.isatty(),
    )
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(2, "w", closefd=False)),
        encoding=sys.stderr.encoding,
        errors=sys.stderr.errors,
        line_buffering=True,
    )
