"""Progress of a search that a program fits: in a terminal, in a notebook, or none."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skygrid.listener import Listener, SilentListener

_shown = threading.Lock()
"""Held while a display is shown: searches in other threads have none, because two would mix."""


class Relay:
    """A listener that passes events on to another one, which may change."""

    def __init__(self, target: Listener) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


@contextmanager
def display(wanted: bool | None, otherwise: Listener | None = None) -> Iterator[Listener]:
    """Show progress while the block runs, and yield its listener.

    Parameters
    ----------
    wanted : bool or None
        None: show it in a terminal and in a notebook. True: elsewhere too, as a line on stderr
        every few seconds.
    otherwise : Listener, optional
        Listener where nothing is shown. Default: a silent one.
    """
    notebook = in_notebook()
    shows = wanted or (wanted is None and (notebook or _is_terminal()))
    if not shows or not _shown.acquire(blocking=False):
        yield otherwise or SilentListener()
        return
    try:
        from skygrid.reports.live import show_progress
        from skygrid.reports.notebook_progress import show_in_notebook
        from skygrid.reports.progress import Progress

        progress = Progress(time.monotonic)
        show = show_in_notebook if notebook else show_progress
        with show(progress):
            yield progress
    finally:
        _shown.release()


def in_notebook() -> bool:
    """Return True in a Jupyter kernel, which shows HTML."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
