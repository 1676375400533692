"""Redirects scikit-learn's messages about a verbose search to stderr: stdout is for results."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO


@dataclass(eq=False)
class _Redirect:
    before: TextIO
    """``sys.stdout`` before this redirect, restored at its end."""


_lock = threading.Lock()
_under_way: list[_Redirect] = []
"""Redirects of all threads, the oldest first."""


@contextmanager
def progress_on_stderr(verbose: int) -> Iterator[None]:
    """Have `print` write to stderr while a verbose search runs.

    Threads share one ``sys.stdout``, and their searches may overlap in any order. The last redirect
    to end restores the stream that the first one found.
    """
    if not verbose:
        yield
        return
    with _lock:
        redirect = _Redirect(sys.stdout)
        _under_way.append(redirect)
        sys.stdout = sys.stderr
    try:
        yield
    finally:
        with _lock:
            _end(redirect)


def _end(redirect: _Redirect) -> None:
    place = _under_way.index(redirect)
    del _under_way[place]
    if place < len(_under_way):
        _under_way[place].before = redirect.before
    else:
        sys.stdout = redirect.before
