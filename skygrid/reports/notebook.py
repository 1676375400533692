"""Small HTML tables for notebooks. Every text of a user or a node is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from skygrid.util.terminal import printable

from .failures import failure_line
from .plain_values import parameter_text, parameters_text, shorten
from .summary import Summary

TOP_SHOWN = 5
FAILURES_SHOWN = 3


def table_html(title: str, facts: Iterable[tuple[str, str]]) -> str:
    """Return a title and rows of a name and a text as HTML."""
    rows = "".join(
        f'<tr><th style="text-align:left">{_text(name)}</th>'
        f'<td style="text-align:left">{_text(said)}</td></tr>'
        for name, said in facts
    )
    return f"<div><strong>{_text(title)}</strong><table>{rows}</table></div>"


def summary_html(summary: Summary) -> str:
    """Return the best candidates of a search and its failures as HTML."""
    parts = [_top(summary)] if summary.top else []
    if summary.failures:
        lines = (failure_line(one) for one in summary.failures[:FAILURES_SHOWN])
        items = "".join(f"<li>{_text(line)}</li>" for line in lines)
        parts.append(f"<div>failed fits<ul>{items}</ul></div>")
    return "".join(parts)


def best_facts(summary: Summary) -> list[tuple[str, str]]:
    """Return the best score and its parameters as rows for `table_html`."""
    if summary.best_score is None:
        return []
    facts = [(summary.metric, score_text(summary.best_score))]
    for name, value in (summary.best_params or {}).items():
        facts.append((name, parameter_text(value, 200)))
    return facts


def score_text(score: float | None) -> str:
    """Return a score to five decimal places, or ``nan``."""
    return "nan" if score is None else f"{score:.5f}"


def _top(summary: Summary) -> str:
    heads = "".join(f"<th>{head}</th>" for head in ("rank", "mean", "std", "parameters"))
    rows = "".join(
        _row(
            (
                str(row.rank),
                score_text(row.mean),
                score_text(row.std),
                shorten(parameters_text(row.params, 60), 300),
            )
        )
        for row in summary.top[:TOP_SHOWN]
    )
    return f"<table><tr>{heads}</tr>{rows}</table>"


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _text(text: str) -> str:
    return escape(printable(text))
