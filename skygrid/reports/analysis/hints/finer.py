"""Hint: finer steps around the best value would pay."""

from __future__ import annotations

import numpy as np

from skygrid.reports.analysis.columns import Column
from skygrid.reports.analysis.records import Advice
from skygrid.reports.analysis.texts import score_text, value_text
from skygrid.reports.analysis.values import last_part

from .proposals import between, grid_line, numbers_of
from .scope import IGNORED, Scope

FAR_LOWER = 0.25
"""Smallest loss at both neighbours, as a part of the best score's distance from the median."""

COARSE = 1.3
"""Smallest ratio of the largest to the smallest of three neighbouring positive numbers that leaves
room for finer steps."""


def finer_hints(scope: Scope) -> list[Advice]:
    """Return a hint for each parameter of a grid whose best value stands out, largest first."""
    if scope.grid is None:
        return []
    found = []
    for column in scope.columns:
        if last_part(column.name) in IGNORED or len(numbers_of(column)) < 3:
            continue
        hint = _hint(scope, column)
        if hint is not None:
            found.append(hint)
    return [hint for _, hint in sorted(found, key=lambda pair: -pair[0])]


def _hint(scope: Scope, column: Column) -> tuple[float, Advice] | None:
    assert scope.grid is not None
    code = int(column.codes[scope.best])
    inside = np.isfinite(column.numbers)
    if not 0 < code < int(inside.sum()) - 1:
        return None
    along = scope.grid.slice_through(scope.best, column.name)
    lower, upper = int(along[code - 1]), int(along[code + 1])
    losses = [float(scope.means[scope.best] - scope.means[place]) for place in (lower, upper)]
    typical = float(np.nanmedian(scope.means))
    least = FAR_LOWER * float(scope.means[scope.best] - typical)
    if not min(losses) > max(0.0, least) or not all(
        scope.beats(column, code, other) for other in (code - 1, code + 1)
    ):
        return None
    low, middle, high = column.numbers[code - 1 : code + 2].tolist()
    values = between(column, low, middle, high)
    if len(values) < 3 or (low > 0 and high < COARSE * low):
        return None
    scores = [score_text(float(scope.means[place])) for place in (lower, scope.best, upper)]
    text = (
        f"{column.setting(code)} scores {scores[1]}, far better than its neighbours"
        f" {value_text(column.values[code - 1])} ({scores[0]}) and"
        f" {value_text(column.values[code + 1])} ({scores[2]}). Try finer steps."
    )
    line = grid_line(column.name, values)
    return min(losses), Advice(kind="finer", parameter=column.name, text=text, line=line)
