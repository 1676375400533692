"""Progress on stderr: a live display in a terminal, otherwise a line every few seconds.

A thread of its own draws immutable views, so that the queue's thread never waits for a terminal.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TextIO

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from .console import SafeConsole
from .progress import Progress
from .progress_view import Event
from .terminal.progress_screen import progress_line, progress_screen

REDRAWS_PER_SECOND = 4
SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress(
    progress: Progress,
    *,
    quiet: bool = False,
    verbose: int = 0,
    transient: bool = False,
    stream: TextIO | None = None,
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
) -> Iterator[Progress]:
    """Show `progress` on stderr while the block runs.

    Parameters
    ----------
    progress : Progress
        The model, which is also the returned listener.
    quiet : bool
        Show nothing.
    verbose : int
        From 1 on, show a line for every event.
    transient : bool
        Erase the live display at the end.
    stream : text file, optional
        Default: stderr.
    wait : callable
        Waits between two updates; tests pass their own.
    """
    if quiet:
        yield progress
        return
    stream = sys.stderr if stream is None else stream
    console = SafeConsole(stream)
    live = console.is_terminal and not console.is_dumb_terminal
    show = partial(_live, transient=transient) if live else _lines
    with show(console, progress, verbose, wait):
        yield progress


@contextmanager
def _live(
    console: Console,
    progress: Progress,
    verbose: int,
    wait: Callable[[threading.Event, float], bool],
    transient: bool,
) -> Iterator[None]:
    frame = _Frame(console)

    def draw() -> RenderableType:
        return frame.note(progress_screen(progress.view(), console.width))

    def redraw() -> None:
        _print_events(console, progress.take_events(), verbose)
        frame.clear_wrapped()
        live.refresh()

    # Rich would redirect stdout to stderr, but stdout is for results.
    shared = sys.stdout is not None and sys.stdout.isatty()
    with (
        Live(
            get_renderable=draw,
            console=console,
            auto_refresh=False,
            redirect_stdout=shared,
            transient=transient,
            vertical_overflow="crop",
        ) as live,
        _repeated(redraw, 1 / REDRAWS_PER_SECOND, wait),
    ):
        yield


@contextmanager
def _lines(
    console: Console,
    progress: Progress,
    verbose: int,
    wait: Callable[[threading.Event, float], bool],
) -> Iterator[None]:
    last = ""

    def write(*, again: bool = True) -> None:
        nonlocal last
        _print_events(console, progress.take_events(), verbose)
        view = progress.view()
        line = progress_line(view)
        if view.total or view.phase not in ("starting", "loading"):
            if again or line != last:
                _print(console, line)
            last = line

    with _repeated(write, SECONDS_BETWEEN_LINES, wait, partial(write, again=False)):
        yield


@contextmanager
def _repeated(
    action: Callable[[], None],
    seconds: float,
    wait: Callable[[threading.Event, float], bool],
    at_end: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Call `action` every `seconds` on a thread, and `at_end`, or `action` again, at the end."""
    stop = threading.Event()

    def loop() -> None:
        try:
            while not wait(stop, seconds):
                action()
        except (OSError, ValueError):
            return  # stderr was closed; the run continues without display

    thread = threading.Thread(target=loop, name="skygrid-display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(OSError, ValueError):  # as above
            (at_end or action)()


class _Frame:
    """The last frame on the screen, and its height after a change of the terminal's width.

    A terminal that became narrower has wrapped the lines of the last frame; rich moves the cursor
    up by the lines that it wrote, so that the others would stay on the screen.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths: list[int] = []

    def note(self, frame: RenderableType) -> RenderableType:
        """Note the widths of the lines of a frame that is drawn now."""
        lines = self._console.render_lines(frame, pad=False)
        self._widths = [sum(segment.cell_length for segment in line) for line in lines]
        return frame

    def clear_wrapped(self) -> None:
        """Erase the lines by which the last frame has grown."""
        for _ in range(wrapped_lines(self._widths, self._console.width)):
            self._console.control(
                Control((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
            )


def wrapped_lines(widths: Sequence[int], width: int) -> int:
    """Return the number of lines that are added where lines are wrapped at a width."""
    return sum(max(0, -(-one // max(1, width)) - 1) for one in widths)


def _print_events(console: Console, events: list[Event], verbose: int) -> None:
    for event in events:
        if event.level == "problem" or verbose:
            stamp = time.strftime("%H:%M:%S ", time.localtime(event.at)) if verbose else ""
            _print(
                console, stamp + event.text, style="yellow" if event.level == "problem" else "dim"
            )


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
