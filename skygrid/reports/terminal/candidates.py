"""Tables of candidates."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from skygrid.reports.console import duration_text, score_text
from skygrid.reports.plain_values import count_text, parameters_text
from skygrid.reports.ranking import Ranking, Row


def candidates_table(ranking: Ranking, title: str, *, whole: bool = False) -> RenderableType:
    """Return a table with one line for each candidate.

    Parameters
    ----------
    ranking : Ranking
    title : str
        Heading of the ranking score.
    whole : bool, default=False
        True: parameters take as many lines as they need.
    """
    halving = any(row.iteration is not None for row in ranking.rows)
    partial = any(row.splits_scored is not None for row in ranking.rows)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in (
        *(["splits"] if partial else ["rank"]),
        title,
        "std",
        *ranking.others,
        *(["resources"] if halving else []),
        "fit",
    ):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    # A column that may wrap gives up its width first; its cells are cut instead.
    table.add_column("parameters")
    for row in ranking.rows:
        table.add_row(
            _splits(row, ranking.splits) if partial else _rank(row),
            score_text(row.mean),
            score_text(row.std),
            *map(score_text, row.others),
            *(["-" if row.resources is None else str(row.resources)] if halving else []),
            "-" if row.fit_seconds is None else duration_text(row.fit_seconds),
            Text(
                parameters_text(ranking.params(row), 40),
                overflow="fold" if whole else "ellipsis",
                no_wrap=not whole,
            ),
        )
    return table


def left_out_text(ranking: Ranking) -> str:
    """Return which candidates the table does not show; empty if it shows all."""
    parts = []
    if ranking.left_out:
        parts.append(f"{count_text(ranking.left_out, 'more candidate')}")
    if ranking.unscored:
        parts.append(f"{count_text(ranking.unscored, 'candidate')} without a score")
    return ", ".join(parts)


def _rank(row: Row) -> str:
    return "-" if row.rank is None else str(row.rank)


def _splits(row: Row, of: int) -> str:
    return f"{row.splits_scored} of {of}" if of else str(row.splits_scored)
