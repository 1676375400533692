"""Tables on stdout, for 80 columns."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.style import Style
from rich.table import Table
from rich.text import Text

from skygrid.nodes.records import Finding, NodeList, Quote
from skygrid.nodes.registry import place_named
from skygrid.util.terminal import MOST_CHARACTERS, printable, without_controls

from .failures import FailureCount, failure_line
from .money import PRICE_UNKNOWN, bill_text, dollars_text
from .plain_values import (
    Plain,
    count_text,
    one_line,
    parameter_text,
    parameters_text,
    round_text,
    shorten,
)
from .run_view import RunView
from .shared_work import shared_text
from .summary import CandidateRow, NodeSummary, Summary, WarningCount, node_differences
from .views import CheckResult

FAILURES_SHOWN = 5
WARNINGS_SHOWN = 5
TOP_SHOWN = 5
RESUME_LINES = 3
"""Interrupted runs for which `skygrid runs` prints the command that resumes them."""

STATE_STYLES = {"complete": "green", "running": "cyan", "failed": "red"}


class SafeConsole(Console):
    """Console whose texts have no control characters; rich itself honours NO_COLOR and COLUMNS.

    Parameters
    ----------
    stream : text file, optional
        Default: stdout.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(file=stream or sys.stdout, highlight=False, markup=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render an object; its styles are applied later, its texts are cleaned here."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment  # cursor movements of the live display
            else:
                yield Segment(without_controls(segment.text), segment.style)


def duration_text(seconds: float) -> str:
    """Return a duration with a suitable unit: ``12 ms``, ``3.4 s``, ``5 min 20 s``, ``2 h``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.2g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def score_text(score: float | None) -> str:
    """Return a score to five decimal places, or ``nan``."""
    return "nan" if score is None else f"{score:.5f}"


def summary_view(summary: Summary) -> RenderableType:
    """Return a finished search for the terminal: best candidate, next best, effort."""
    parts: list[RenderableType] = [_best(summary), "", _top(summary.top[:TOP_SHOWN]), ""]
    parts.append(_effort(summary))
    if summary.failures:
        parts.append(_failures(summary.failures, summary.failed + summary.killed))
    if summary.warnings:
        parts.append(_warnings(summary.warnings))
    parts.extend(_differences(summary.nodes))
    if summary.bill is not None:
        gone = summary.bill.verified and not summary.bill.left
        parts.append(Text(bill_text(summary.bill), style="" if gone else "red", overflow="fold"))
    parts.append(Text(f"saved in {summary.folder}", overflow="fold"))
    return Group(*parts)


def check_view(check: CheckResult) -> RenderableType:
    """Return the plan of a search for the terminal."""
    grid = _facts()
    several = len(check.rounds) > 1 or check.open_ended
    least = "at least " if check.open_ended else ""
    for number, size in enumerate(check.rounds):
        grid.add_row(
            f"round {number + 1}" if several else "plan", round_text(size.candidates, size.splits)
        )
    if several:
        more = ": further rounds may follow" if check.open_ended else ""
        grid.add_row("together", f"{least}{count_text(check.fits, 'fit')}{more}")
    if check.shared is not None and (said := shared_text(check.shared)):
        place = " in round 1" if several else ""
        grid.add_row("sharing", said + place)
    slots = (
        "all their vCPUs" if check.slots is None else f"{count_text(check.slots, 'slot')} in all"
    )
    grid.add_row("nodes", f"{count_text(check.nodes, 'node')}, {slots}")
    if check.quote is not None:
        grid.add_row("", _rented(check.quote))
        grid.add_row("", _whereabouts(check.quote))
    if check.seconds_per_fit is not None:
        here = " on this machine" if check.quote is not None else ""
        grid.add_row("one fit", f"{duration_text(check.seconds_per_fit)}{here}{_sample(check)}")
    if check.estimated_seconds is not None:
        estimate = duration_text(check.estimated_seconds)
        grid.add_row("estimate", f"{least}{estimate}, if all fits take as long")
    if check.quote is None:
        grid.add_row("price", f"nothing: {place_named(check.on).title}")
    else:
        _add_price(grid, check, check.quote)
    parts: list[RenderableType] = [Text(check.search, style="bold"), grid]
    if check.sample_error:
        parts.append(Text("the sample fit failed:", style="yellow"))
        parts.append(
            Padding(Text(printable(check.sample_error.strip()), overflow="fold"), (0, 0, 0, 2))
        )
    notes = (*check.notes, *(check.quote.notes if check.quote else ()))
    parts.extend(Text(printable(note), style="yellow") for note in notes)
    return Group(*parts)


def nodes_view(view: NodeList) -> RenderableType:
    """Return rented nodes as a table with their total cost."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("run", "node", "instance", "type", "state", "age", "cost"):
        right = heading in ("age", "cost")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for node in view.nodes:
        style = "green" if node.state == "running" else "yellow"
        table.add_row(
            node.run,
            node.node,
            node.instance,
            f"{node.instance_type} {node.market}",
            Text(node.state, style=style),
            duration_text(node.age_seconds),
            dollars_text(node.dollars),
        )
    rates = [node.dollars_per_hour for node in view.nodes]
    costs = [node.dollars for node in view.nodes]
    total = (
        f"{count_text(len(view.nodes), 'node')} in {', '.join(view.regions)}: "
        f"{dollars_text(_sum(rates))} an hour, {dollars_text(_sum(costs))} so far"
    )
    return Group(table, Text(total))


def _sum(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _rented(quote: Quote) -> str:
    others = f", or {', '.join(quote.other_types)}" if quote.other_types else ""
    return (
        f"{quote.instance_type} ({quote.vcpus} vCPUs, {quote.memory_gib:g} GiB){others}, "
        f"{quote.market}"
    )


def _whereabouts(quote: Quote) -> str:
    return f"{quote.region} ({', '.join(quote.zones)}), account {quote.account}"


def _add_price(grid: Table, check: CheckResult, quote: Quote) -> None:
    rate, total = quote.dollars_per_hour, quote.dollars_per_hour_in_all
    if rate is None:
        grid.add_row("price", PRICE_UNKNOWN.removeprefix("price "))
        return
    source = f" ({quote.price_source})" if quote.price_source else ""
    each = f" = {quote.nodes} x {dollars_text(rate)}" if quote.nodes > 1 else ""
    grid.add_row("price", f"{dollars_text(total)} an hour{each}{source}")
    if check.estimated_dollars is not None:
        grid.add_row(
            "cost",
            f"{'at least' if check.open_ended else 'about'} "
            f"{dollars_text(check.estimated_dollars)}, start and end included",
        )
    if quote.most_dollars is not None:
        grid.add_row("at most", f"{dollars_text(quote.most_dollars)}, {_bound(quote)}")


def _bound(quote: Quote) -> str:
    if quote.max_cost is not None and quote.most_dollars == quote.max_cost:
        return "by --max-cost"
    return f"by --max-hours {quote.max_hours:g}"


def findings_view(findings: Sequence[Finding]) -> RenderableType:
    """Return the findings of `skygrid doctor` for the terminal."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for one in findings:
        style, mark = ("red", "trouble") if one.problems else ("green", "ok")
        lines = [*one.problems, *one.facts, *(f"note: {note}" for note in one.notes)]
        grid.add_row(Text(one.name, style="bold"), Text(mark, style=style))
        for line in lines:
            grid.add_row("", Text(line, style="red" if line in one.problems else ""))
    return grid


def _best(summary: Summary) -> RenderableType:
    grid = _facts()
    splits = f"mean of {summary.splits} splits" if summary.splits else "mean"
    if summary.best_index is None:
        grid.add_row(
            "best", "not chosen: several scorers and refit=False; ranked here by " + summary.metric
        )
    else:
        name = "score" if summary.metric == "score" else f"score ({summary.metric})"
        std = "" if summary.best_std is None else f", std {score_text(summary.best_std)}"
        best = Text(score_text(summary.best_score), style="bold green")
        grid.add_row(name, best.append(f"  {splits}{std}", style="not bold default"))
    if isinstance(summary.holdout_score, dict):
        for metric, score in summary.holdout_score.items():
            grid.add_row(f"holdout ({metric})", score_text(score))
    elif summary.holdout_score is not None:
        grid.add_row("holdout", score_text(summary.holdout_score))
    for parameter, value in (summary.best_params or {}).items():
        grid.add_row(Text(parameter, overflow="fold"), Text(_value(value), overflow="fold"))
    title = f"{summary.search}: best of {count_text(summary.candidates, 'candidate')}"
    return Group(Text(title, style="bold"), grid)


def _top(rows: Sequence[CandidateRow]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("rank", "mean", "std", "fit"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    for row in rows:
        table.add_row(
            str(row.rank),
            score_text(row.mean),
            score_text(row.std),
            "-" if row.mean_fit_seconds is None else duration_text(row.mean_fit_seconds),
            Text(shorten(parameters_text(row.params, 40), 120), overflow="fold"),
        )
    return table


def _effort(summary: Summary) -> RenderableType:
    shared = shared_text(summary.shared)
    text = Text(shared or count_text(summary.fits, "fit"))
    if summary.failed:
        text.append(f", {summary.failed} failed", style="red")
    if summary.killed:
        text.append(f", {summary.killed} killed", style="red")
    if summary.reused:
        text.append(f" ({summary.reused} recorded before)")
    if summary.retries:
        text.append(f", {count_text(summary.retries, 'retry', 'retries')}", style="yellow")
    text.append("\n" if shared else " in ")  # both together exceed a line
    text.append(
        f"{duration_text(summary.wall_seconds)} on {count_text(len(summary.nodes), 'node')}, "
        f"{duration_text(summary.fit_seconds)} of fitting"
    )
    if summary.slot_use is not None:
        use = summary.slot_use
        text.append(f"\nslot utilisation {100 * use.busy_share:.0f} %, ")
        text.append(f"idle tail {duration_text(use.tail_seconds)}")
    return text


def _failures(failures: Sequence[FailureCount], failed: int) -> RenderableType:
    lines = [Text(failure_line(one), overflow="fold") for one in failures[:FAILURES_SHOWN]]
    rest = failed - sum(one.count for one in failures[:FAILURES_SHOWN])
    if rest:
        lines.append(Text(f"{rest} x other errors"))
    return Group(Text("failed fits", style="red"), Padding(Group(*lines), (0, 0, 0, 2)))


def _warnings(warnings: Sequence[WarningCount]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for warning in warnings[:WARNINGS_SHOWN]:
        text = shorten(f"{warning.category}: {one_line(warning.message)}", 220)
        grid.add_row(f"{warning.count} x", Text(printable(text)))
    rest = warnings[WARNINGS_SHOWN:]
    if rest:
        grid.add_row(f"{sum(one.count for one in rest)} x", f"{len(rest)} other warnings")
    return Group(Text("warnings in fits", style="yellow"), Padding(grid, (0, 0, 0, 2)))


def _differences(nodes: Sequence[NodeSummary]) -> Iterable[RenderableType]:
    for fact, values in node_differences(nodes).items():
        said = "; ".join(f"{value} on {', '.join(names)}" for value, names in values.items())
        yield Text(f"nodes differ in {fact}: {said}", style="yellow", overflow="fold")


def _facts() -> Table:
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="cyan", max_width=36)
    grid.add_column()
    return grid


def _sample(check: CheckResult) -> str:
    score = check.sample_score
    if isinstance(score, dict):
        said = ", ".join(f"{name} {score_text(value)}" for name, value in score.items())
        return f", scored {said}"
    return "" if score is None else f", scored {score_text(score)}"


def _value(value: Plain) -> str:
    return parameter_text(value, 400)


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
    interrupted = [view for view in views if view.state == "interrupted" and view.resumable]
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
    grid = _facts()
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
