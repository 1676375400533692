"""Output of commands: results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

import typer

from skygrid.errors import FolderError
from skygrid.util.process import Interruption
from skygrid.util.terminal import say, without_controls

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_result(text: str) -> None:
    """Write text to stdout, on a terminal without control characters."""
    _write(without_controls(text) if sys.stdout.isatty() else text)


def _write(text: str) -> None:
    """Write to stdout; end the command quietly if the reader has closed it, as ``| head`` does.

    Raises
    ------
    FolderError
        If stdout cannot be written, on a full disk for example.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python flushes stdout again at exit, which would raise a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(0) from None
        raise FolderError(
            f"cannot write to stdout: {error.strerror or error}. Make room and repeat the command, "
            "or print the results of a run again with `skygrid show RUN`"
        ) from error


def write_view(view: RenderableType) -> None:
    """Write a table to stdout, coloured if stdout is a terminal."""
    _write(_render(view, sys.stdout))


def say_view(view: RenderableType) -> None:
    """Write a table to stderr, coloured if stderr is a terminal."""
    sys.stderr.write(_render(view, sys.stderr))
    sys.stderr.flush()


def _render(view: RenderableType, stream: TextIO) -> str:
    from skygrid.reports.console import SafeConsole

    console = SafeConsole(stream)
    with console.capture() as captured:
        console.print(view)
    # Rich pads each line to the width of its table; the padding would be copied with the text.
    return "".join(line.rstrip() + "\n" for line in captured.get().splitlines())


def can_ask() -> bool:
    """Return True if stdin and stderr are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agrees(question: str) -> bool:
    """Ask on stderr, because stdout is for results; only "y" and "yes" count as agreement."""
    say(f"{question} [y/N]: ", end="")
    try:
        answer = sys.stdin.readline()
    except (Interruption, KeyboardInterrupt):  # Ctrl-C at the question declines
        answer = ""
    if not answer.endswith("\n"):
        say("")
    return answer.strip().lower() in ("y", "yes")
