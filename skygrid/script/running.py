"""Runs a Python file as ``python FILE ARGUMENTS`` does, in this process.

The module ``__main__`` stays after the run: functions of the script may be called at exit, and are
pickled by their names.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from skygrid.errors import CallKilledError, SkygridError, UsageError
from skygrid.util.process import Interruption, handled_signals, interrupt_on_signals, note_signal
from skygrid.util.terminal import show_warnings_as_python

FAILED = 1
"""Exit code of a script that raises, as of Python."""

_kept: list[ModuleType] = []
"""The former ``__main__``: Python clears the globals of a module without references."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A Python file that was read and compiled."""

    path: Path
    """Absolute path, as Python gives it to ``__file__``."""

    given: str
    """Path as the user wrote it: ``sys.argv[0]``."""

    code: CodeType


def read_script(path: Path) -> Script:
    """Read and compile a script.

    Raises
    ------
    UsageError
        If the file is missing, unreadable or no file.
    SyntaxError, ValueError
        If it is not Python.
    """
    absolute = Path(os.path.abspath(path))  # symbolic links stay, as in Python's __file__
    try:
        # Undecoded: the file names its encoding.
        with io.open_code(str(absolute)) as file:
            text = file.read()
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder; name the script in it") from None
    except OSError as error:
        raise UsageError(f"cannot open {path}: {error.strerror}") from None
    code = compile(text, str(absolute), "exec", dont_inherit=True)
    return Script(path=absolute, given=str(path), code=code)


def become_program(script: Script, arguments: Sequence[str]) -> ModuleType:
    """Give this process the arguments, import path and ``__main__`` of the script.

    Returns
    -------
    main : ModuleType
        The new ``__main__``, empty.
    """
    main = ModuleType("__main__")
    main.__file__ = str(script.path)
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", str(script.path))
    vars(main).update(__builtins__=builtins, __cached__=None, __annotations__={})
    _kept.append(sys.modules["__main__"])
    sys.modules["__main__"] = main
    sys.argv[:] = [script.given, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = str(script.path.resolve().parent)
    return main


def run_script(script: Script, main: ModuleType) -> int:
    """Run the script to its end; return its exit code.

    Its threads may go on until the process ends. An exception is reported by `sys.excepthook`,
    without frames of skygrid above the script's.

    Raises
    ------
    SkygridError
        If nodes fail and the script does not handle it.
    Interruption
        If a signal ends the script.
    """
    process = os.getpid()
    with _as_python_does():
        code = _exit_code(script, main)
        if os.getpid() != process:  # a child that the script forked: the nodes are its parent's
            _end_child(code)
    return code


def _exit_code(script: Script, main: ModuleType) -> int:
    try:
        exec(script.code, vars(main))
    except SystemExit as end:
        return _status(end.code)
    except Interruption:
        raise
    except BaseException as error:
        if isinstance(error, SkygridError) and not isinstance(error, CallKilledError):
            raise
        report(error, skipped=1)
        if isinstance(error, KeyboardInterrupt):
            note_signal(signal.SIGINT)
            raise Interruption from None
        return FAILED
    return 0


def report(error: BaseException, *, skipped: int) -> None:
    """Report an exception as Python does at the end of a program.

    Parameters
    ----------
    error : BaseException
    skipped : int
        Number of frames to leave out, outermost first.
    """
    trace: TracebackType | None = error.__traceback__
    for _ in range(skipped):
        trace = trace and trace.tb_next
    error.__traceback__ = trace
    try:
        sys.excepthook(type(error), error, trace)
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001 (the hook is the script's)
        sys.stderr.write("Error in sys.excepthook:\n")
        traceback.print_exc()
        sys.stderr.write("\nOriginal exception was:\n")
        traceback.print_exception(error)


def _status(code: object) -> int:
    """Return the exit code for the argument of ``sys.exit``; write a text to stderr."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return FAILED


def _end_child(code: int) -> None:
    """End a forked child without the clean-up that belongs to its parent."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _as_python_does() -> Iterator[None]:
    """Give the script Python's own streams, warnings and Ctrl-C.

    SIGTERM and SIGHUP raise `Interruption` in place of ending the process, so that the nodes end.
    """
    before = {number: signal.getsignal(number) for number in handled_signals()}
    streams = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = sys.__stdin__ or sys.stdin, sys.__stdout__ or sys.stdout
    show_warnings_as_python()
    interrupt_on_signals()
    if signal.SIGINT in before:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if sys.stdout is not None and not sys.stdout.closed:
            _flush()
        sys.stdin, sys.stdout = streams


def _flush() -> None:
    """Write what the script has printed; a reader that is gone is no error of skygrid."""
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stderr.write(f"error: cannot write to stdout: {error.strerror}\n")
