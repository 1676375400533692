"""Rented nodes, and the findings of `skygrid doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from skygrid.nodes.records import Finding, NodeList
from skygrid.reports.console import duration_text
from skygrid.reports.money import dollars_text
from skygrid.reports.plain_values import count_text


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
