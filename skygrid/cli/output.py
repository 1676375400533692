"""Output of commands: results to stdout, everything else to stderr."""

from __future__ import annotations

import io
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

import typer

from skygrid.errors import FolderError
from skygrid.util.process import Interruption
from skygrid.util.terminal import say, without_controls

if TYPE_CHECKING:
    from rich.console import RenderableType


_json_asked: ContextVar[bool] = ContextVar("json_asked", default=False)
_document_written: ContextVar[bool] = ContextVar("document_written", default=False)


def begin_output(*, json: bool) -> None:
    """Begin the output of a command; `json`: it is to write one JSON document."""
    _json_asked.set(json)
    _document_written.set(False)


def ask_for_json() -> None:
    """Note that a config file asks for JSON."""
    _json_asked.set(True)


def write_document(text: str) -> None:
    """Write the one JSON document of a command to stdout."""
    _document_written.set(True)
    write_result(text)


def lacks_document() -> bool:
    """Return True if the command was to write a JSON document and has not."""
    return _json_asked.get() and not _document_written.get()


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
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(0) from None
        raise unwritable(error) from error


def unwritable(error: OSError) -> FolderError:
    """Return the error of a command whose stdout cannot be written."""
    return FolderError(
        f"cannot write to stdout: {error.strerror or error}. Make room and repeat the command, "
        "or print the results of a run again with `skygrid show RUN`"
    )


def write_view(view: RenderableType) -> None:
    """Write a table to stdout, coloured if stdout is a terminal."""
    _write(_render(view, sys.stdout))


def say_view(view: RenderableType) -> None:
    """Write a table to stderr, coloured if stderr is a terminal."""
    sys.stderr.write(_render(view, sys.stderr))
    sys.stderr.flush()


def _render(view: RenderableType, stream: TextIO) -> str:
    from skygrid.reports.console import SafeConsole

    captured = _Captured(stream)
    SafeConsole(captured).print(view)
    # Rich pads each line to the width of its table; the padding would be copied with the text.
    return "".join(line.rstrip() + "\n" for line in captured.getvalue().splitlines())


class _Captured(io.StringIO):
    """A text that looks to rich like a stream: rich asks for colours and characters."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the stub has None
        """The encoding of the stream, which limits the characters of a table's lines."""
        return self._stream.encoding

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()


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
