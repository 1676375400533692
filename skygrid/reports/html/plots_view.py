"""Texts beside the plots: effects, splits, cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from skygrid.reports.html.analysed import Analysis
from skygrid.reports.html.page_data import parameter_names
from skygrid.reports.html.records import Report, Score
from skygrid.reports.html.texts import (
    View,
    score_text,
    seconds_text,
)
from skygrid.reports.html.values import value_key

TOP = 10
"""Number of candidates whose splits are compared."""


def effects_lead(report: Report) -> str:
    """Return the explanation of the plots of effects."""
    text = (
        f"Mean {report.display_metric} for each value of a parameter, over all values of the "
        "others. Points are scores of single splits, the line is their mean, a dash marks the best "
        "candidate."
    )
    if len(set(report.candidates.rounds)) > 1:
        text += (
            " The iterations of a halving search have different numbers of samples: only the first "
            "one is shown, which has all candidates."
        )
    return (
        text if varying(report.candidates.params) else "Only one value of each parameter was tried."
    )


def varying(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of parameters with several values."""
    return [
        name
        for name in parameter_names(params)
        if len({value_key(one[name]) for one in params if name in one}) > 1
    ]


def splits_view(report: Report) -> View:
    """Return the texts about the splits; None for too few splits or scores."""
    table = report.candidates
    scores = table.scores.get(report.metric, ())
    if not scores or report.splits < 2 or report.best is None:
        return {"splits_text": None, "splits_title": ""}
    last = table.rounds[report.best]
    ranks = table.ranks[report.metric]
    rows = [row for row in range(len(table)) if table.rounds[row] == last]
    top = sorted(rows, key=lambda row: (row != report.best, ranks[row], row))[:TOP]
    medians = [_median(scores[row][split] for row in top) for split in range(report.splits)]
    return {
        "splits_title": f"The {len(top)} best candidates on each split"
        if len(top) > 1
        else "The candidate on each split",
        "splits_text": _disagreement(medians, report),
    }


def _disagreement(medians: Sequence[Score], report: Report) -> str:
    """Return a sentence about the split that differs most from the others."""
    known = {split: one for split, one in enumerate(medians) if one is not None}
    if len(known) < 3:
        return "There are too few splits with scores to say which one differs."
    middle = statistics.median(known.values())
    split = max(known, key=lambda one: abs(known[one] - middle))
    rest = [one for number, one in known.items() if number != split]
    gap, spread = abs(known[split] - middle), max(rest) - min(rest)
    side = "lower" if known[split] < middle else "higher"
    facts = (
        f"the median {report.display_metric} of the best candidates is {score_text(known[split])} "
        f"there and {score_text(min(rest))} to {score_text(max(rest))} on the others"
    )
    if gap == 0:
        return "All splits agree."
    if gap > spread:
        return f"Split {split} disagrees: {facts}. Its test samples are worth a look."
    return f"No split stands apart. Split {split} is the {side[:-2]}est: {facts}."


def cost_text(report: Report, analysis: Analysis) -> str:
    """Return a sentence about the Pareto front."""
    table, best = report.candidates, report.best
    if analysis.cost is None or best is None or not analysis.cost.front:
        return "Fit times are means over the splits, without scoring."
    points = [analysis.cost.points[place] for place in analysis.cost.front]
    fastest = points[0]
    mean = table.means[report.metric][best]
    if fastest.row == best or mean is None or fastest.score >= mean:
        return (
            f"No candidate is faster than the best: {seconds_text(fastest.fit_seconds)} for a fit."
        )
    return (
        f"{len(points)} candidates are on the Pareto front: from {score_text(fastest.score)} in "
        f"{seconds_text(fastest.fit_seconds)} to {score_text(mean)} in "
        f"{seconds_text(points[-1].fit_seconds)} for a fit."
    )


def _median(values: Any) -> Score:
    known = [one for one in values if one is not None]
    return statistics.median(known) if known else None
