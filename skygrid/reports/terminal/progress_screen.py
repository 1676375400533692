"""A run's progress as lines: of a terminal of any width, or one line for logs and pipes."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from skygrid.reports.money import dollars_text
from skygrid.reports.plain_values import parameters_text, shorten
from skygrid.reports.progress_view import NodeView, ProgressView, RunningFit

NODES_SHOWN = 8
"""Maximum number of nodes with a line of their own; the rest share one line."""

SECONDS_OF_SHOWN_FITS = 2.0
"""Time after which a running fit has a line, in seconds."""

NARROW = 60
"""Width in characters below which details are left out."""

NODE_NAME_WIDTHS = 12, 32
NODE_COLUMNS_WIDTH = 66
"""Maximum width of the columns beside the name, in characters."""

STATE_STYLES = {"working": "green", "lost": "red", "finished": "dim"}


def seconds_text(seconds: float | None) -> str:
    """Return seconds as ``0:00:07``; ``-:--:--`` if unknown."""
    if seconds is None:
        return "-:--:--"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


def left_text(seconds: float | None) -> str:
    """Return the time left, as ``0:00:07 left``; ``- left`` if it is unknown or nothing."""
    return "- left" if seconds is None or seconds < 0.5 else f"{seconds_text(seconds)} left"


def rate_text(rate: float | None) -> str:
    """Return a rate in fits/s, which is the only unit, so that rates can be compared."""
    if rate is None:
        return "- fits/s"
    if rate < 1:
        return f"{rate:.2g} fits/s"
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
        left_text(view.seconds_left),
    ]
    if view.shows_cost:
        parts.append(f"cost {dollars_text(view.dollars)}")
    if view.best_score is not None:
        splits = _splits_so_far(view)
        params = parameters_text(view.best_params or {}, 32)
        parts.append(" ".join(filter(None, (f"best {view.best_score:.5g}", splits, params))))
    return shorten("  ".join(parts), width)


def progress_screen(view: ProgressView, width: int) -> RenderableType:
    """Return the view as a few lines for a terminal of `width` columns."""
    rows: list[RenderableType] = [_headline(view, width), _counters(view, width)]
    if view.best_score is not None:
        rows.append(_best(view, width))
    rows += [_running(fit, width) for fit in view.running if fit.seconds >= SECONDS_OF_SHOWN_FITS]
    if view.nodes:
        rows.append(_nodes(view.nodes, width))
    return Group(*rows)


def _headline(view: ProgressView, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    # Only halving searches have several rounds.
    phase = f"{view.phase}, round {view.round + 1}" if view.round > 0 else view.phase
    share = f"{100 * view.done // view.total} %" if view.total else ""
    count = f"{view.done}/{view.total} fits"
    elapsed = seconds_text(view.elapsed)
    texts = [phase, count, elapsed] if width < NARROW else [phase, count, share, elapsed]
    # Two blanks between the columns, and some room for digits to come.
    room = width - sum(map(len, texts)) - 2 * len(texts) - (0 if width < NARROW else 3)
    bar = ProgressBar(
        total=max(1, view.total),
        completed=view.done,
        width=max(4, room),
        pulse=not view.total,
        complete_style="cyan",
        finished_style="green",
    )
    first = Text(phase, style="bold")
    grid.add_row(first, *([bar] if room >= 4 else []), *texts[1:])
    return grid


def _counters(view: ProgressView, width: int) -> RenderableType:
    rate, left = rate_text(view.rate), left_text(view.seconds_left)
    text = Text(f"{rate}  " if width < NARROW else f"{rate}   {left}   ")
    text.append(f"{view.failed} failed", style="red" if view.failed else "")
    if width < NARROW:
        text.append(f"  {left}")
    if view.shows_cost:
        text.append(f"   cost {dollars_text(view.dollars)}")
    if view.retries:
        text.append(f"   {view.retries} slots died", style="yellow")
    if view.answered:
        text.append(f"   {view.answered} derived", style="dim")
    if view.reused:
        text.append(f"   {view.reused} recorded before", style="dim")
    text.truncate(width, overflow="ellipsis")
    return text


def _splits_so_far(view: ProgressView) -> str:
    """Return the splits behind the best score, while it lacks some."""
    if view.best_splits >= view.splits:
        return ""
    return f"({view.best_splits} of {view.splits} splits)"


def _best(view: ProgressView, width: int) -> RenderableType:
    splits = _splits_so_far(view)
    head = f"best {view.best_score:.5f}   {splits + '   ' if splits else ''}"
    # At most two lines: long parameters must not push the nodes off the screen.
    room = max(16, 2 * (width - len(head)) - 8)
    text = shorten(parameters_text(view.best_params or {}, 32), room)
    if len(head) + 16 > width:
        return Text(f"{head}{text}", overflow="fold")
    grid = Table.grid()
    grid.add_row(Text(head, style="green"), Text(text, overflow="fold"))
    return grid


def _running(fit: RunningFit, width: int) -> RenderableType:
    head = f"fitting {seconds_text(fit.seconds)}   "
    split = f", split {fit.split + 1} of {fit.splits}"
    params = parameters_text(fit.params, 32) or "the default"
    return Text(head + shorten(params, max(8, width - len(head) - len(split))) + split)


def _nodes(nodes: tuple[NodeView, ...], width: int) -> RenderableType:
    least, most = NODE_NAME_WIDTHS
    cells: list[RenderableType]
    name_width = min(most, max(least, width - NODE_COLUMNS_WIDTH))
    narrow = width < NARROW
    grid = Table.grid(padding=(0, 1 if narrow else 2))
    for _ in range(4 if narrow else 6):
        grid.add_column(overflow="ellipsis", no_wrap=True)
    for node in nodes[:NODES_SHOWN]:
        cells = [
            shorten(node.name, name_width),
            Text(node.state, style=STATE_STYLES.get(node.state, "yellow")),
            f"{node.busy}/{node.slots}" if narrow else f"{node.busy}/{node.slots} slots",
            f"{node.fits} fits",
            f"load {node.load:.1f}" if node.slots else "",
            memory_text(node.slots_bytes) if node.slots else "",
        ]
        grid.add_row(*cells[: len(grid.columns)])
    rest = nodes[NODES_SHOWN:]
    if rest:
        busy, slots = sum(node.busy for node in rest), sum(node.slots for node in rest)
        cells = [
            Text(f"{len(rest)} more", style="dim"),
            f"{sum(node.state == 'working' for node in rest)} working",
            f"{busy}/{slots}" if narrow else f"{busy}/{slots} slots",
            f"{sum(node.fits for node in rest)} fits",
            "",
            memory_text(sum(node.slots_bytes for node in rest)),
        ]
        grid.add_row(*cells[: len(grid.columns)])
    return grid
