"""The list of runs, and a run that has no results."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from skygrid.reports.console import STATE_STYLES, duration_text, facts_grid
from skygrid.reports.money import bill_text
from skygrid.reports.plain_values import count_text
from skygrid.reports.run_view import RunView
from skygrid.util.terminal import MOST_CHARACTERS, printable

RESUME_LINES = 3
"""Interrupted runs for which `skygrid runs` prints the command that resumes them."""


def runs_view(views: Sequence[RunView], now: float) -> RenderableType:
    """Return the runs as a table, in the given order.

    Parameters
    ----------
    views : sequence of RunView
    now : float
        Current time in seconds since the epoch, the end of a running run's duration.
    """
    rows = [
        (
            printable(view.name),
            view.state,
            _fits(view),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(view.record.started_at)),
            _took(view, now),
        )
        for view in views
    ]
    styles = [STATE_STYLES.get(view.state, "yellow") for view in views]
    interrupted = [view for view in views if view.state == "interrupted"]
    hints: list[RenderableType] = [_resume_line(one) for one in interrupted[:RESUME_LINES]]
    rest = len(interrupted) - len(hints)
    if rest:
        hints.append(Text(f"{count_text(rest, 'older run')} can be resumed too", style="yellow"))
    return Group(_run_lines(rows, styles), *hints)


def _run_lines(rows: Sequence[tuple[str, ...]], styles: Sequence[str]) -> RenderableType:
    """Return lines of columns; `rich.table` takes a millisecond for each line.

    Parameters
    ----------
    rows : sequence of tuple of str
    styles : sequence of str
        Style of the state in each row.
    """
    headings = ("run", "state", "fits", "started", "took")
    widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
    segments = [Segment("  ".join(_padded(headings, widths)) + "\n", Style.parse("dim"))]
    for row, style in zip(rows, styles, strict=True):
        name, state, *others = _padded(row, widths)
        segments += [Segment(f"{name}  "), Segment(state, Style.parse(style))]
        segments.append(Segment("".join(f"  {one}" for one in others) + "\n"))
    return Segments(segments)


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the cells of a row in the widths of their columns; numbers stand at the right."""
    blanks = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
    return [
        blank + cell if number in (2, 4) else cell + blank
        for number, (cell, blank) in enumerate(zip(row, blanks, strict=True))
    ]


def run_panel(view: RunView, now: float) -> RenderableType:
    """Return a run without results: its progress, and the error that ended it."""
    record = view.record
    grid = facts_grid()
    grid.add_row("state", Text(view.state, style=STATE_STYLES.get(view.state, "yellow")))
    grid.add_row("fits", _fits(view))
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started_at))
    grid.add_row("started", started)
    grid.add_row("took" if record.ended_at is not None else "so far", _took(view, now))
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
