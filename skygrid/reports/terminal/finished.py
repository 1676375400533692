"""A finished search: best candidate, next best, effort, failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from skygrid.reports.console import duration_text, facts_grid, score_text
from skygrid.reports.failures import FailureCount, failure_line
from skygrid.reports.money import bill_text
from skygrid.reports.plain_values import (
    Plain,
    count_text,
    one_line,
    parameter_text,
    parameters_text,
    shorten,
)
from skygrid.reports.shared_work import shared_text
from skygrid.reports.summary import (
    CandidateRow,
    NodeSummary,
    Summary,
    WarningCount,
    node_differences,
)
from skygrid.util.terminal import printable

FAILURES_SHOWN = 5
WARNINGS_SHOWN = 5
TOP_SHOWN = 5


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


def _best(summary: Summary) -> RenderableType:
    grid = facts_grid()
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


def _value(value: Plain) -> str:
    return parameter_text(value, 400)
