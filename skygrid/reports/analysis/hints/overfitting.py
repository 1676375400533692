"""Hint: the best candidate over-fits, as its train scores show."""

from __future__ import annotations

import numpy as np

from skygrid.reports.analysis.columns import Column
from skygrid.reports.analysis.means import mean_scores
from skygrid.reports.analysis.records import Advice, CandidateTable, Verdict
from skygrid.reports.analysis.simplicity import direction
from skygrid.reports.analysis.texts import score_text, settings_text
from skygrid.reports.analysis.values import last_part

from .proposals import beyond, grid_line, numbers_of
from .scope import Scope

WIDE = 0.1
"""Smallest gap that counts, relative to the larger of both scores."""

WIDE_ERROR = 0.5
"""The same for scores below 0, as of a negative error, which has no natural size."""

OUTSIDE_SPREAD = 3.0
"""Smallest gap that counts, in standard deviations of the test scores over the splits."""

HARMLESS = frozenset({"k", "max_iter", "n_components", "n_estimators", "n_features_to_select"})
"""Parameters that order models by size, but are no remedy for over-fitting."""


def overfitting_hints(scope: Scope, verdict: Verdict) -> list[Advice]:
    """Return a hint if the best candidate fits its training data much better than its test data.

    No hint if the search already tried candidates with half the gap and all of them are worse.
    """
    table, best = scope.table, verdict.best
    if table.train_scores is None or best is None or verdict.std is None:
        return []
    train, test = table.train_scores.mean(axis=1), mean_scores(table)
    gaps = train - test
    if not _over_fits(float(train[best]), float(test[best]), verdict.std):
        return []
    text = (
        f"The best candidate over-fits: {score_text(float(train[best]))} on its training data,"
        f" {score_text(float(test[best]))} on test data."
    )
    half = [row for row in verdict.comparison.indistinguishable if gaps[row] <= gaps[best] / 2]
    if half:
        return [Advice(kind="overfitting", text=f"{text} {_instead(table, best, half[0], gaps)}")]
    compared = np.isfinite(verdict.comparison.p_values)
    if (gaps[compared] <= gaps[best] / 2).any():
        return []
    return _simpler_values(scope, text)


def _over_fits(train: float, test: float, std: float) -> bool:
    gap = train - test
    wide = WIDE_ERROR if train < 0 else WIDE
    return gap > wide * max(abs(train), abs(test)) and gap > OUTSIDE_SPREAD * std


def _instead(table: CandidateTable, best: int, other: int, gaps: np.ndarray) -> str:
    own = settings_text(table.params[other], table.params[best])
    return (
        f"The candidate with {own} is statistically as good"
        f" ({score_text(float(mean_scores(table)[other]))}) with a gap of"
        f" {score_text(float(gaps[other]))}: prefer it."
    )


def _simpler_values(scope: Scope, text: str) -> list[Advice]:
    """Return a hint with simpler values of the first parameter that has any."""
    for column in scope.columns:
        sign = direction(column.name)
        if not sign or last_part(column.name) in HARMLESS or len(numbers_of(column)) < 2:
            continue
        values = beyond(column, up=sign > 0)
        line = grid_line(column.name, values)
        if len(values) > 1 and line is not None:
            why = f"No candidate has half that gap. Try simpler models: {_way(column, sign)}."
            return [
                Advice(kind="overfitting", parameter=column.name, text=f"{text} {why}", line=line)
            ]
    return []


def _way(column: Column, sign: int) -> str:
    return f"{'larger' if sign > 0 else 'smaller'} values of {column.name}"
