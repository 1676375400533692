"""Results for GitHub Actions: a step summary in Markdown, and annotations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from skygrid.util.terminal import printable

from .failures import failure_line
from .money import bill_text
from .plain_values import count_text, parameters_text, shorten
from .summary import Summary

TOP_SHOWN = 5
FAILURES_SHOWN = 5
"""Number of errors of fits that are listed. GitHub shows ten annotations of a step."""

MOST_CHARACTERS = 4000
"""Maximum length of a message, in characters. GitHub takes 1 MiB of summary from a step."""


def step_summary(name: str, summary: Summary | None = None, error: str | None = None) -> str:
    """Return the Markdown of a run for ``GITHUB_STEP_SUMMARY``.

    Parameters
    ----------
    name : str
        The run, or the command if there is no run.
    summary : Summary or None
        The results that there are.
    error : str or None
        Message that the command ended with.
    """
    parts = [f"### skygrid: {markdown(name)}, {'complete' if error is None else 'not passed'}", ""]
    if error is not None:
        lines = printable(error, MOST_CHARACTERS).splitlines()
        parts += ["<br>".join(map(markdown, lines)), ""]
    if summary is not None:
        parts += [*_table(("", ""), _facts(summary)), ""]
        if summary.top:
            parts += [*_table(("rank", "mean", "std", "parameters"), _top(summary)), ""]
        parts += [f"- {markdown(line)}" for line in _failures(summary)]
    return "\n".join(parts).rstrip() + "\n\n"


def annotation_lines(summary: Summary | None, error: str | None) -> list[str]:
    """Return lines that GitHub Actions shows as annotations: the error, and failed fits."""
    lines = [] if error is None else [annotation("error", error)]
    if summary is not None:
        lines += [annotation("warning", line) for line in _failures(summary)]
    return lines


def annotation(level: Literal["error", "warning"], text: str) -> str:
    """Return a workflow command, escaped as in ``@actions/core`` (``command.ts``)."""
    data = printable(text, MOST_CHARACTERS)
    for character, escaped in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        data = data.replace(character, escaped)
    return f"::{level} title=skygrid::{data}"


def markdown(text: str) -> str:
    """Return text that Markdown shows as it is, also in the cell of a table.

    Punctuation becomes character references, which CommonMark never reads as markup.
    """
    one_line = " ".join(printable(text).split())
    return re.sub(
        r"(?!(?<=\d)\.(?=\d))[^A-Za-z0-9 ,()=]", lambda found: f"&#{ord(found[0])};", one_line
    )


def _facts(summary: Summary) -> list[tuple[str, ...]]:
    spread = "" if summary.best_std is None else f", std {_score(summary.best_std)}"
    facts: list[tuple[str, ...]] = [(f"best {summary.metric}", _score(summary.best_score) + spread)]
    holdout = summary.holdout_score
    scores = holdout if isinstance(holdout, dict) else {"": holdout}
    for metric, score in scores.items():
        if score is not None:
            facts.append((f"holdout {metric}".rstrip(), _score(score)))
    facts.append(("parameters", parameters_text(summary.best_params or {}, 60)))
    lost = "".join(
        f", {number} {word}"
        for number, word in ((summary.failed, "failed"), (summary.killed, "killed"))
        if number
    )
    facts.append(("fits", count_text(summary.fits, "fit") + lost))
    if summary.bill is not None:
        facts.append(("cost", bill_text(summary.bill)))
    return facts


def _top(summary: Summary) -> list[tuple[str, ...]]:
    return [
        (
            str(row.rank),
            _score(row.mean),
            _score(row.std),
            shorten(parameters_text(row.params, 60), 300),
        )
        for row in summary.top[:TOP_SHOWN]
    ]


def _failures(summary: Summary) -> list[str]:
    return [failure_line(one) for one in summary.failures[:FAILURES_SHOWN]]


def _score(score: float | None) -> str:
    return "nan" if score is None else f"{score:.5f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [_cells(heads), _cells(["---"] * len(heads))]
    return lines + [_cells(list(map(markdown, row))) for row in rows]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
