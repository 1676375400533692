"""The results of a search: best candidate, next best, effort, failures, next steps."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from skygrid.reports.console import duration_text, facts_grid, score_text
from skygrid.reports.failures import FailureCount, failed_fits_text, short_error
from skygrid.reports.money import bill_text
from skygrid.reports.plain_values import (
    count_text,
    one_line,
    parameter_text,
    shorten,
)
from skygrid.reports.ranking import Ranking, Results, Row, ranking, rungs
from skygrid.reports.shared_work import shared_text
from skygrid.reports.summary import NodeSummary, Summary, WarningCount, node_differences
from skygrid.util.terminal import printable

from .bounded import Bounded
from .candidates import candidates_table, left_out_text

LINES = 25
"""Maximum number of lines of a summary, so that it stays on one screen."""


@dataclass(frozen=True, kw_only=True)
class Details:
    """Numbers of lines of a summary."""

    top: int = 5
    parameters: int = 8
    failures: int = 3
    warnings: int = 3


LEVELS = (
    Details(),
    Details(parameters=6, failures=2, warnings=1),
    Details(top=4, parameters=5, failures=1, warnings=1),
    Details(top=3, parameters=4, failures=1, warnings=0),
    Details(top=2, parameters=3, failures=1, warnings=0),
)


def summary_view(
    summary: Summary,
    results: Results | None = None,
    *,
    metric_name: str = "",
    complete: bool = True,
    table: Ranking | None = None,
    tracebacks: bool = False,
) -> RenderableType:
    """Return the results of a search for the terminal, in at most `LINES` lines.

    Parameters
    ----------
    summary : Summary
    results : mapping of str to sequence, optional
        ``cv_results`` of `result.json`. Default: the rows of ``summary.top`` alone are shown.
    metric_name : str, optional
        Name of the metric that ``cv_results_`` calls ``score``.
    complete : bool, default=True
        False: the search has not ended, or its refit failed, so that there is no ``search.pkl``.
    table : Ranking, optional
        Candidates to show, in any number of lines.
    tracebacks : bool, default=False
        True: show the traceback of each error, in any number of lines.
    """
    shown = _Shown(summary, results or {}, metric_name or summary.metric, complete, tracebacks)
    if table is not None or tracebacks:
        return shown.view(LEVELS[0], table)
    return Bounded([shown.view(level) for level in LEVELS], LINES)


@dataclass(frozen=True)
class _Shown:
    summary: Summary
    results: Results
    title: str
    complete: bool
    tracebacks: bool

    def view(self, details: Details, table: Ranking | None = None) -> RenderableType:
        summary = self.summary
        known = ranking(summary, self.results, top=details.top)
        parts: list[RenderableType] = [self._best(known, details)]
        rows = table or known
        if rows.rows:
            parts += ["", candidates_table(rows, self.title, whole=table is not None)]
            if table is not None and (rest := left_out_text(rows)):
                parts.append(Text(rest, style="dim"))
        parts += ["", _effort(summary)]
        if summary.failures:
            parts.append(self._failures(details.failures))
        if summary.warnings:
            parts.append(_warnings(summary.warnings, details.warnings))
        parts.extend(_differences(summary.nodes))
        if summary.bill is not None:
            gone = summary.bill.verified and not summary.bill.left
            style = "" if gone else "red"
            parts.append(Text(bill_text(summary.bill), style=style, overflow="fold"))
        parts += [Text(f"saved in {summary.folder}", overflow="fold"), self._next_steps()]
        return Group(*parts)

    def _best(self, known: Ranking, details: Details) -> RenderableType:
        summary, grid = self.summary, facts_grid()
        best = next(iter(known.rows), None)
        if not summary.metrics:
            grid.add_row("best", "unknown: the scorer returned no scores")
        elif best is None and summary.best_score is None:
            grid.add_row("best", "unknown: no candidate has a score")
        elif best is None or summary.best_index is not None or self._is_partial(best):
            self._add_best(grid, best)
        else:
            chosen = f"not chosen: several scorers and refit=False; ranked by {self.title}"
            grid.add_row("best", chosen)
        self._add_holdout(grid)
        self._add_rungs(grid)
        if best is not None and (summary.best_index is not None or self._is_partial(best)):
            params = known.params(best)
            for name, value in list(params.items())[: details.parameters]:
                text = Text(parameter_text(value, 400), overflow="fold")
                grid.add_row(Text(name, overflow="fold"), text)
            if len(params) > details.parameters:
                grid.add_row("...", f"{len(params) - details.parameters} more parameters")
        return Group(Text(self._headline(best), style="bold"), grid)

    def _is_partial(self, best: Row) -> bool:
        return best.splits_scored is not None

    def _headline(self, best: Row | None) -> str:
        summary, iterations = self.summary, rungs(self.results)
        name = summary.search or "search"
        so_far = " so far" if best is not None and self._is_partial(best) else ""
        if len(iterations) < 2:
            return f"{name}: best{so_far} of {count_text(summary.candidates, 'candidate')}"
        candidates = count_text(iterations[0][0], "candidate")
        return f"{name}: best{so_far} of {candidates} in {len(iterations)} iterations"

    def _add_rungs(self, grid: Table) -> None:
        iterations = rungs(self.results)
        if len(iterations) > 1:
            steps = (
                str(count) if size is None else f"{count} with {size}" for count, size in iterations
            )
            unit = "" if iterations[0][1] is None else " resources"
            grid.add_row("iterations", Text(", ".join(steps) + unit, overflow="fold"))

    def _add_best(self, grid: Table, best: Row | None) -> None:
        summary = self.summary
        mean = summary.best_score if best is None else best.mean
        std = summary.best_std if best is None else best.std
        of = str(summary.splits)
        if best is not None and best.splits_scored is not None:
            of = f"{best.splits_scored} of {summary.splits}"
        said = f"mean of {of} splits" if summary.splits else "mean"
        said += "" if std is None else f", std {score_text(std)}"
        text = Text(score_text(mean), style="bold green")
        grid.add_row(
            Text(self.title, overflow="fold"), text.append(f"  {said}", style="not bold default")
        )

    def _add_holdout(self, grid: Table) -> None:
        holdout = self.summary.holdout_score
        if isinstance(holdout, dict):
            scores = ", ".join(f"{name} {score_text(score)}" for name, score in holdout.items())
            grid.add_row("holdout", Text(scores, overflow="fold"))
        elif holdout is not None:
            grid.add_row("holdout", score_text(holdout))

    def _failures(self, most: int) -> RenderableType:
        shown = self.summary.failures[:most]
        parts: list[RenderableType] = []
        for one in shown:
            parts.append(_failure(one))
            if self.tracebacks:
                trace = Text(printable(one.traceback.rstrip(), 20_000), overflow="fold")
                parts.append(Padding(trace, (0, 0, 0, 2)))
        rest = self.summary.failed + self.summary.killed - sum(one.count for one in shown)
        if rest > 0:
            parts.append(Text(f"other errors: {count_text(rest, 'fit')}"))
        return Group(Text("failed fits", style="red"), Padding(Group(*parts), (0, 0, 0, 2)))

    def _next_steps(self) -> RenderableType:
        """Return what to type next, as `skygrid` and as Python."""
        path = Path(self.summary.folder)
        usual = path.parent == Path("skygrid-runs")
        given = path.name if usual else self.summary.folder
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row("next", Text(f"skygrid report {shlex.quote(given)}"))
        grid.add_row("", "import skygrid")
        grid.add_row("", Text(f"run = skygrid.load({given!r})"))
        return grid


def _failure(failure: FailureCount) -> RenderableType:
    text = Text(printable(one_line(short_error(failure.error))), overflow="fold")
    return text.append(f"\n  {failed_fits_text(failure)}", style="dim")


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


def _warnings(warnings: Sequence[WarningCount], most: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for warning in warnings[:most]:
        text = shorten(f"{warning.category}: {one_line(warning.message)}", 220)
        grid.add_row(f"{warning.count} x", Text(printable(text)))
    rest = warnings[most:]
    if rest:
        kinds = count_text(len(rest), "other warning") if most else count_text(len(rest), "kind")
        grid.add_row(f"{sum(one.count for one in rest)} x", kinds)
    return Group(Text("warnings in fits", style="yellow"), Padding(grid, (0, 0, 0, 2)))


def _differences(nodes: Sequence[NodeSummary]) -> Iterable[RenderableType]:
    for fact, values in node_differences(nodes).items():
        said = "; ".join(f"{value} on {', '.join(names)}" for value, names in values.items())
        yield Text(f"nodes differ in {fact}: {said}", style="yellow", overflow="fold")
