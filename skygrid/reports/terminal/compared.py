"""Differences between two runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from skygrid.reports.comparison import Comparison, Difference
from skygrid.reports.console import score_text
from skygrid.reports.plain_values import count_text, parameters_text
from skygrid.util.terminal import printable

CHANGED_SHOWN = 10


def comparison_view(found: Comparison) -> RenderableType:
    """Return the differences between two runs for the terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", *found.runs):
        table.add_column(Text(printable(heading)), overflow="fold")
    table.add_row("state", *found.states)
    table.add_row("metric", *(one or "-" for one in found.metrics))
    table.add_row("best score", *map(_score, found.best_scores))
    table.add_row("best", *(Text(parameters_text(one or {}) or "-") for one in found.best_params))
    table.add_row("candidates", *map(str, found.candidates))
    _add(table, "", found.settings)
    _add(table, "", found.versions)
    _add(table, "only: ", found.grid)
    parts: list[RenderableType] = [table, ""]
    if found.inputs:
        parts.append(Text(f"different: {', '.join(found.inputs)}", style="yellow"))
    else:
        parts.append(Text("same data, estimator, splits, scoring and candidates"))
    parts.append(_scores(found))
    return Group(*parts)


def _score(score: float | None) -> str:
    return "-" if score is None else score_text(score)


def _add(table: Table, prefix: str, differences: Sequence[Difference]) -> None:
    for one in differences:
        cells = (Text(printable(text or "-"), overflow="fold") for text in (one.first, one.second))
        table.add_row(Text(f"{prefix}{one.fact}", overflow="fold"), *cells)


def _scores(found: Comparison) -> RenderableType:
    common = count_text(found.common, "candidate")
    if not found.common:
        return Text("no candidate is in both runs")
    if not found.changed:
        return Text(f"{common} in both runs: all scores are equal to the last bit")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in (*found.runs, "difference"):
        table.add_column(Text(printable(heading)), justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    for one in found.changed[:CHANGED_SHOWN]:
        both = one.first is not None and one.second is not None
        difference = f"{(one.second or 0) - (one.first or 0):+.5f}" if both else "-"
        params = Text(parameters_text(one.params, 40), overflow="fold")
        table.add_row(_score(one.first), _score(one.second), difference, params)
    said = f"{common} in both runs: {len(found.changed)} with other scores"
    return Group(Text(said), table)
