"""Results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

import typer

from skygrid.util.terminal_text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_SAID = 100_000
"""Characters of a message."""


def write_result(text: str) -> None:
    """Write to stdout; end the command quietly when its reader is gone, as with ``| head``."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more on its way out; that must not fail in turn.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def write_view(view: RenderableType) -> None:
    """Write a table to stdout, coloured where stdout is a terminal."""
    write_result(_drawn(view, sys.stdout))


def say_view(view: RenderableType) -> None:
    """Write a table to stderr, coloured where that is a terminal."""
    print(_drawn(view, sys.stderr), end="", file=sys.stderr, flush=True)


def _drawn(view: RenderableType, stream: TextIO) -> str:
    from skygrid.reports.console import stdout_console

    console = stdout_console(stream)
    with console.capture() as captured:
        console.print(view)
    # Rich pads every line to the width of its table; nobody wants to copy the blanks.
    return "".join(line.rstrip() + "\n" for line in captured.get().splitlines())


def say(message: str) -> None:
    """Write a message to stderr; what a fit or a host said may be part of it."""
    print(printable(message, MOST_SAID), file=sys.stderr)


def can_ask() -> bool:
    """Whether somebody is there to see a question and to answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agrees(question: str) -> bool:
    """Ask on stderr, as stdout is for results; only a plain yes is one."""
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if not answer.endswith("\n"):
        print(file=sys.stderr)
    return answer.strip().lower() in ("y", "yes")
