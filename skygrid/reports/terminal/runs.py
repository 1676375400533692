"""The list of runs, and a run that has no results."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from skygrid.reports.console import STATE_STYLES, duration_text, facts_grid, score_text
from skygrid.reports.money import bill_text
from skygrid.reports.plain_values import count_text, one_line, shorten
from skygrid.reports.run_view import RunView, metric_name
from skygrid.util.terminal import MOST_CHARACTERS, printable

RESUME_LINES = 3
"""Interrupted runs for which `skygrid runs` prints the command that resumes them."""


def runs_view(views: Sequence[RunView], now: float, left_out: int = 0) -> RenderableType:
    """Return the runs as a table, in the given order.

    Parameters
    ----------
    views : sequence of RunView
    now : float
        Current time in seconds since the epoch, the end of a running run's duration.
    left_out : int, default=0
        Number of older runs that are not shown.
    """
    columns: dict[str, Sequence[str]] = {
        "run": [one_line(printable(view.name)) for view in views],
        "state": [view.state for view in views],
        "score": [_score(view) for view in views],
        "metric": [_metric(view) for view in views],
        "candidates": [_candidates(view) for view in views],
        "fits": [_fits(view) for view in views],
        "started": [_started(view) for view in views],
        "took": [_took(view, now) for view in views],
        "file": [_file(view) for view in views],
    }
    styles = [STATE_STYLES.get(view.state, "yellow") for view in views]
    interrupted = [view for view in views if view.state == "interrupted" and view.resumable]
    hints: list[RenderableType] = [_resume_line(one) for one in interrupted[:RESUME_LINES]]
    rest = len(interrupted) - len(hints)
    if rest:
        hints.append(Text(f"{count_text(rest, 'older run')} can be resumed too", style="yellow"))
    if left_out:
        older = count_text(left_out, "older run")
        hints.append(Text(f"{older}: skygrid runs --limit {len(views) + left_out}", style="dim"))
    return Group(_RunLines(columns, styles), *hints)


DISPENSABLE = ("took", "file", "fits", "candidates", "started", "metric", "score")
"""Columns that are left out where the terminal is too narrow, the first one first."""

RIGHT = frozenset({"score", "candidates", "fits", "took"})
"""Columns of numbers."""


class _RunLines:
    """Lines of columns; `rich.table` takes a millisecond for each line.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        Cells by heading.
    styles : sequence of str
        Style of the state in each row.
    """

    def __init__(self, columns: Mapping[str, Sequence[str]], styles: Sequence[str]) -> None:
        self._columns, self._styles = columns, styles

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the columns for which there is room."""
        yield Segments(self._segments(options.max_width))

    def _segments(self, width: int) -> list[Segment]:
        widths = {name: max(map(cell_len, (name, *cells))) for name, cells in self._columns.items()}
        for name in DISPENSABLE:
            if sum(widths.values()) + 2 * (len(widths) - 1) <= width:
                break
            del widths[name]
        segments = [Segment(_line({name: name for name in widths}, widths), Style.parse("dim"))]
        for number, style in enumerate(self._styles):
            cells = {name: self._columns[name][number] for name in widths}
            before, state, after = _line(cells, widths).partition(f"  {cells['state']}")
            segments += [Segment(before), Segment(state, Style.parse(style)), Segment(after)]
        return segments


def _line(cells: Mapping[str, str], widths: Mapping[str, int]) -> str:
    """Return the cells of a row in the widths of their columns; numbers stand at the right."""
    padded = []
    for name, width in widths.items():
        blank = " " * (width - cell_len(cells[name]))
        padded.append(blank + cells[name] if name in RIGHT else cells[name] + blank)
    return "  ".join(padded).rstrip() + "\n"


def _score(view: RunView) -> str:
    found = view.headline
    return "-" if found is None or found.best_score is None else score_text(found.best_score)


def _metric(view: RunView) -> str:
    if view.headline is None:
        return "-"
    return printable(metric_name(view.record) or view.headline.metric or "-", 20)


def _candidates(view: RunView) -> str:
    return "-" if view.headline is None else str(view.headline.candidates)


def _started(view: RunView) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(view.record.started_at))


def _file(view: RunView) -> str:
    file = view.record.search_file
    return "-" if file is None else shorten(printable(Path(file).name), 24)


def run_panel(view: RunView, now: float) -> RenderableType:
    """Return a run without results: its progress, and the error that ended it."""
    record = view.record
    grid = facts_grid()
    grid.add_row("state", Text(view.state, style=STATE_STYLES.get(view.state, "yellow")))
    grid.add_row("fits", _fits(view))
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started_at))
    grid.add_row("started", started)
    if record.ended_at is not None:
        grid.add_row("took", _took(view, now))
    elif view.state == "running":  # a killed driver records no end
        grid.add_row("so far", _took(view, now))
    if record.search_file is not None:
        grid.add_row("file", Text(record.search_file, overflow="fold"))
    for node in record.nodes:
        what = f"{node.name}, {count_text(node.slots, 'slot')}, {node.host} {node.cpu}"
        grid.add_row("node", Text(what))
    if record.bill is not None:
        grid.add_row("cost", bill_text(record.bill))
    if record.error:
        error = printable(record.error, MOST_CHARACTERS)
        grid.add_row("error", Text(error, style="red", overflow="fold"))
    parts: list[RenderableType] = [Text(record.name, style="bold"), grid]
    if view.resumable:
        parts.append(_resume_line(view))
    return Group(*parts)


def _fits(view: RunView) -> str:
    total = view.record.fits_total
    return f"{view.fits_recorded}/{'?' if total is None else total}"


def _took(view: RunView, now: float) -> str:
    ended = view.record.ended_at
    # A killed driver records no end.
    if ended is None and view.state != "running":
        return "?"
    return duration_text(max(0.0, (now if ended is None else ended) - view.record.started_at))


def _resume_line(view: RunView) -> Text:
    return Text(f"resume with: skygrid resume {shlex.quote(view.given)}", style="yellow")
