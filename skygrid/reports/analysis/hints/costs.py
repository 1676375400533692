"""Hint: a value that costs most of the time for nothing."""

from __future__ import annotations

import numpy as np

from skygrid.reports.analysis.columns import Column
from skygrid.reports.analysis.records import Advice, Floats
from skygrid.reports.analysis.texts import percent_text, score_text, seconds_text

from .proposals import grid_line
from .scope import Scope

MOST = 0.5
"""Smallest part of the fit time that a value has to take."""

OUT_OF_PROPORTION = 1.5
"""Smallest ratio of a value's part of the fit time to its part of the fits."""

MIN_SECONDS = 60.0
"""Smallest fit time worth a hint, in seconds."""


def cost_hints(scope: Scope) -> list[Advice]:
    """Return a hint for the value that takes most of the fit time without the best score."""
    seconds = _measured(scope)
    total = float(seconds.sum())
    if total <= 0:
        return []
    found = []
    for column in scope.columns:
        spent = np.bincount(column.codes, weights=seconds, minlength=len(column.values))
        counts = np.bincount(column.codes, minlength=len(column.values))
        code = int(np.argmax(spent))
        share = spent[code] / total
        fair = counts[code] / len(column.codes)
        if share < MOST or share < OUT_OF_PROPORTION * fair or spent[code] < MIN_SECONDS:
            continue
        hint = _hint(scope, column, code, float(spent[code]), float(share), float(fair))
        if hint is not None:
            found.append((float(spent[code]), hint))
    return [hint for _, hint in sorted(found, key=lambda pair: -pair[0])][:1]


def _measured(scope: Scope) -> Floats:
    """Return the fit time of each candidate, without times derived from other fits."""
    table = scope.table
    own = np.isfinite(table.fit_seconds)
    if table.derived is not None:
        own &= ~table.derived
    return np.asarray(np.where(own, table.fit_seconds, 0.0).sum(axis=1)[scope.rows])


def _hint(
    scope: Scope, column: Column, code: int, seconds: float, share: float, fair: float
) -> Advice | None:
    inside = column.codes == code
    best = scope.means[scope.best]
    own = scope.means[inside & np.isfinite(scope.means)]
    if inside[scope.best] or not len(own) or own.max() >= best:
        return None
    text = (
        f"{column.setting(code)} takes {percent_text(share)} of the fit time"
        f" ({seconds_text(seconds)}) in {percent_text(fair)} of the candidates, but its best score,"
        f" {score_text(float(own.max()))}, is below the best without it,"
        f" {score_text(float(best))}. Leave it out."
    )
    others = [value for place, value in enumerate(column.values) if place != code]
    line = grid_line(column.name, others)
    return Advice(kind="cost", parameter=column.name, text=text, line=line)
