"""The one way to a terminal for text: without escape sequences that come from elsewhere.

Names, parameters, tracebacks and reports come from nodes, fits and files. Only rich adds escape
sequences, for colours; `reports.console.SafeConsole` removes all others.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

_in_summary = ContextVar("in_summary", default=False)

MOST_CHARACTERS = 100_000
"""Maximum length of a message, in characters; longer output of a host or fit is cut."""


def printable(text: str, most: int = 2000) -> str:
    """Return text without escape sequences, cut to a maximum length.

    Parameters
    ----------
    text : str
        Text from a node, a fit or a program.
    most : int, default=2000
        Maximum number of characters; three dots replace the rest.

    Returns
    -------
    text : str
        Line breaks and tabs are kept; other unprintable characters become ``?``.
    """
    cut = text if len(text) <= most else f"{text[:most]}..."
    return without_controls(cut)


def without_controls(text: str) -> str:
    """Return text in which unprintable characters except line breaks and tabs are ``?``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


_CONTROLS = re.compile(r"(?!\r\n)[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_escapes(text: str) -> str:
    """Return text in which control characters except tabs and ends of lines are ``?``.

    All other characters are kept, also unprintable ones such as a no-break space: it is for texts
    that a program may compare with scikit-learn's.
    """
    return _CONTROLS.sub("?", text)


def say(message: str, end: str = "\n") -> None:
    """Write a message to stderr."""
    sys.stderr.write(printable(message, MOST_CHARACTERS) + end)
    sys.stderr.flush()


@contextmanager
def in_summary() -> Iterator[None]:
    """Leave out the warnings of the block where `show_warnings` is in force: a report has them."""
    token = _in_summary.set(True)
    try:
        yield
    finally:
        _in_summary.reset(token)


_shown_by_python = warnings.showwarning


def show_warnings_as_python() -> None:
    """Undo `show_warnings`: a script's warnings look as they do under ``python``."""
    warnings.showwarning = _shown_by_python


def show_warnings() -> None:
    """Show warnings through `say`, because their text comes from fits."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if _in_summary.get():
            return
        text = warnings.formatwarning(message, category, filename, lineno, line)
        if file is None:
            say(text, end="")
        else:
            file.write(text)

    warnings.showwarning = show
