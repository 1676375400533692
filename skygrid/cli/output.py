"""Results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType


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
    from skygrid.reports.console import stdout_console

    console = stdout_console()
    with console.capture() as captured:
        console.print(view)
    # Rich pads every line to the width of its table; nobody wants to copy the blanks.
    write_result("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def say(message: str) -> None:
    """Write a message to stderr."""
    print(message, file=sys.stderr)
