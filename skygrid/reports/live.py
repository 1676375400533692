"""Progress on stderr: a live display in a terminal, otherwise a line every few seconds.

A thread of its own draws immutable views, so that the queue's thread never waits for a terminal.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .console import SafeConsole
from .money import dollars_text
from .plain_values import parameters_text, shorten
from .progress import Progress
from .progress_view import Event, NodeView, ProgressView

REDRAWS_PER_SECOND = 4
SECONDS_BETWEEN_LINES = 5.0
NODES_SHOWN = 8
"""Maximum number of nodes with a line of their own; the rest share one line."""

NODE_NAME_WIDTHS = 12, 32
NODE_COLUMNS_WIDTH = 66
"""Maximum width of the columns beside the name, in characters."""

STATE_STYLES = {"working": "green", "lost": "red", "gone": "dim"}


def seconds_text(seconds: float | None) -> str:
    """Return seconds as ``0:00:07``; ``-:--:--`` if unknown."""
    if seconds is None:
        return "-:--:--"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


def rate_text(rate: float | None) -> str:
    """Return a rate in fits/s, below 1 in fits/min."""
    if rate is None:
        return "- fits/s"
    if rate < 1:
        return f"{rate * 60:.1f} fits/min"
    return f"{rate:.1f} fits/s" if rate < 100 else f"{rate:,.0f} fits/s"


def memory_text(count: int) -> str:
    """Return bytes of memory as ``1.2 GiB`` or ``340 MiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 1000 * 2**20 else f"{count / 2**20:.0f} MiB"


def progress_line(view: ProgressView, width: int = 200) -> str:
    """Return the view as one line, for logs and pipes."""
    busy, slots = sum(node.busy for node in view.nodes), sum(node.slots for node in view.nodes)
    parts = [
        view.phase,
        f"{view.done}/{view.total} fits",
        f"{view.failed} failed",
        *([f"{view.answered} derived"] if view.answered else []),
        f"{busy}/{slots} slots",
        # The reason why nothing is fitted yet: a node that is prepared, or waits in a queue.
        *([f"{view.nodes[0].name} {view.nodes[0].state}"] if view.nodes and not slots else []),
        rate_text(view.rate),
        f"{seconds_text(view.seconds_left)} left",
    ]
    if view.shows_cost:
        parts.append(f"cost {dollars_text(view.dollars)}")
    if view.best_score is not None:
        parts.append(f"best {view.best_score:.5g} {parameters_text(view.best_params or {}, 32)}")
    return shorten("  ".join(parts), width)


def progress_screen(view: ProgressView, width: int) -> RenderableType:
    """Return the view as a few lines for a terminal of `width` columns."""
    rows: list[RenderableType] = [_headline(view, width), _counters(view)]
    if view.best_score is not None:
        rows.append(_best(view, width))
    if view.nodes:
        rows.append(_nodes(view.nodes, width))
    return Group(*rows)


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
    def draw() -> RenderableType:
        return progress_screen(progress.view(), console.width)

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
        _repeated(lambda: _redraw(console, live, progress, verbose), 1 / REDRAWS_PER_SECOND, wait),
    ):
        yield


@contextmanager
def _lines(
    console: Console,
    progress: Progress,
    verbose: int,
    wait: Callable[[threading.Event, float], bool],
) -> Iterator[None]:
    def write() -> None:
        _print_events(console, progress.take_events(), verbose)
        view = progress.view()
        if view.total or view.phase not in ("starting", "loading"):
            _print(console, progress_line(view))

    with _repeated(write, SECONDS_BETWEEN_LINES, wait):
        yield


@contextmanager
def _repeated(
    action: Callable[[], None], seconds: float, wait: Callable[[threading.Event, float], bool]
) -> Iterator[None]:
    """Call `action` every `seconds` on a thread, and once more at the end."""
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
            action()


def _redraw(console: Console, live: Live, progress: Progress, verbose: int) -> None:
    _print_events(console, progress.take_events(), verbose)
    live.refresh()


def _print_events(console: Console, events: list[Event], verbose: int) -> None:
    for event in events:
        if event.level == "problem" or verbose:
            stamp = time.strftime("%H:%M:%S ", time.localtime(event.at)) if verbose else ""
            _print(
                console, stamp + event.text, style="yellow" if event.level == "problem" else "dim"
            )


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _headline(view: ProgressView, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    # Only halving searches have several rounds.
    phase = f"{view.phase}, round {view.round + 1}" if view.round > 0 else view.phase
    share = f"{100 * view.done // view.total} %" if view.total else ""
    count = f"{view.done}/{view.total} fits"
    bar = ProgressBar(
        total=max(1, view.total),
        completed=view.done,
        width=max(10, width - len(phase) - len(count) - len(share) - 18),
        pulse=not view.total,
        complete_style="cyan",
        finished_style="green",
    )
    grid.add_row(Text(phase, style="bold"), bar, count, share, seconds_text(view.elapsed))
    return grid


def _counters(view: ProgressView) -> RenderableType:
    text = Text(f"{rate_text(view.rate)}   {seconds_text(view.seconds_left)} left   ")
    text.append(f"{view.failed} failed", style="red" if view.failed else "")
    if view.shows_cost:
        text.append(f"   cost {dollars_text(view.dollars)}")
    if view.retries:
        text.append(f"   {view.retries} slots died", style="yellow")
    if view.answered:
        text.append(f"   {view.answered} derived", style="dim")
    if view.reused:
        text.append(f"   {view.reused} recorded before", style="dim")
    return text


def _best(view: ProgressView, width: int) -> RenderableType:
    head = f"best {view.best_score:.5f}   "
    # At most two lines: long parameters must not push the nodes off the screen.
    text = shorten(parameters_text(view.best_params or {}, 32), 2 * (width - len(head)) - 8)
    grid = Table.grid()
    grid.add_row(Text(head, style="green"), Text(text, overflow="fold"))
    return grid


def _nodes(nodes: tuple[NodeView, ...], width: int) -> RenderableType:
    least, most = NODE_NAME_WIDTHS
    name_width = min(most, max(least, width - NODE_COLUMNS_WIDTH))
    grid = Table.grid(padding=(0, 2))
    for _ in range(6):
        grid.add_column(overflow="ellipsis", no_wrap=True)
    for node in nodes[:NODES_SHOWN]:
        grid.add_row(
            shorten(node.name, name_width),
            Text(node.state, style=STATE_STYLES.get(node.state, "yellow")),
            f"{node.busy}/{node.slots} slots",
            f"{node.fits} fits",
            f"load {node.load:.1f}" if node.slots else "",
            memory_text(node.slots_bytes) if node.slots else "",
        )
    rest = nodes[NODES_SHOWN:]
    if rest:
        grid.add_row(
            Text(f"{len(rest)} more", style="dim"),
            f"{sum(node.state == 'working' for node in rest)} working",
            f"{sum(node.busy for node in rest)}/{sum(node.slots for node in rest)} slots",
            f"{sum(node.fits for node in rest)} fits",
            "",
            memory_text(sum(node.slots_bytes for node in rest)),
        )
    return grid
