"""Hint: the best value is at the edge of its range."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from skygrid.reports.analysis.columns import Column
from skygrid.reports.analysis.records import Advice
from skygrid.reports.analysis.texts import plain_number, score_text, value_text
from skygrid.reports.analysis.values import last_part

from .proposals import beyond, distribution, grid_line, numbers_of
from .scope import IGNORED, Scope

MIN_SHARE = 0.01
"""Smallest gain at the edge that counts, as a part of the scores' range over the parameter."""

FEW_VALUES = 12
"""Largest number of values of a parameter that are taken for a list, in a random search."""

TOP_SHARE = 0.1
"""Part of the candidates of a random search that are its top ones; at least `MIN_TOP`."""

MIN_TOP = 5
MIN_RANDOM = 20
"""Minimum number of scored candidates in a random search with this hint."""

OUTER = 0.2
"""Part of a random search's candidates that are at one edge of a range."""

UNLIKELY = 0.005
"""Largest p-value of the number of top candidates at one edge at which the hint is given."""

FEATURES = frozenset({"k", "max_features", "n_components", "n_features_to_select"})
"""Parameters that the number of features may limit."""


def edge_hints(scope: Scope) -> list[Advice]:
    """Return a hint for each parameter whose best value is at an edge, largest gain first."""
    found = []
    for column in scope.columns:
        if last_part(column.name) in IGNORED or len(numbers_of(column)) < 2:
            continue
        for up in (True, False):
            gain = _gain_in_grid(scope, column, up=up) if scope.grid else None
            if gain is not None:
                hint = _grid_hint(scope, column, up=up)
            elif scope.grid is None and _crowded(scope, column, up=up):
                hint, gain = _random_hint(scope, column, up=up), 0.0
            else:
                continue
            if hint is not None:
                found.append((gain, hint))
    return [hint for _, hint in sorted(found, key=lambda pair: -pair[0])]


def _open_ended(column: Column, *, up: bool) -> bool:
    """Report whether values beyond the edge may differ; None beside numbers means no limit."""
    return not (up and any(value is None for value in column.values))


def _neighbours(scope: Scope, column: Column, *, up: bool) -> NDArray[np.intp]:
    """Return the positions along the parameter through the best, from the edge inwards."""
    assert scope.grid is not None
    along = scope.grid.slice_through(scope.best, column.name)
    numbers = np.flatnonzero(np.isfinite(column.numbers))
    return np.asarray(along[numbers[::-1] if up else numbers])


def _gain_in_grid(scope: Scope, column: Column, *, up: bool) -> float | None:
    """Return by how much the edge beats its neighbour; None if the best is not clearly there."""
    along = _neighbours(scope, column, up=up)
    if column.codes[along[0]] != column.codes[scope.best] or not _open_ended(column, up=up):
        return None
    means = scope.means[along]
    if not np.isfinite(means).all():
        return None
    gain = float(means[0] - means[1])
    if gain < MIN_SHARE * float(np.ptp(means)) or not scope.beats(
        column, int(column.codes[along[0]]), int(column.codes[along[1]])
    ):
        return None
    if scope.scores.shape[1] < 2 and not (len(means) > 2 and means[1] > means[2]):
        return None  # one split shows a trend only over three values
    return gain


def _grid_hint(scope: Scope, column: Column, *, up: bool) -> Advice | None:
    values = beyond(column, up=up)
    if len(values) < 2:
        return None
    edge, inner = _neighbours(scope, column, up=up)[:2]
    score, other = (score_text(float(scope.means[place])) for place in (edge, inner))
    text = (
        f"{column.setting(int(column.codes[edge]))} is the {'largest' if up else 'smallest'}"
        f" {_number_of(column)} tried and scores best: {score}, against {other} with"
        f" {value_text(column.values[int(column.codes[inner])])}."
        f" Extend the range{_limit(column, up=up)}."
    )
    return Advice(
        kind="edge", parameter=column.name, text=text, line=grid_line(column.name, values)
    )


def _crowded(scope: Scope, column: Column, *, up: bool) -> bool:
    """Report whether the top candidates of a random search crowd at an edge beyond chance."""
    from scipy.special import bdtrc

    scored = np.flatnonzero(np.isfinite(scope.means))
    if len(scored) < MIN_RANDOM or not _open_ended(column, up=up):
        return False
    at_edge = _at_edge(column, scored, up=up)
    count = _top_count(scope)
    top = np.lexsort((scored, -scope.means[scored]))[:count]
    if not at_edge[np.searchsorted(scored, scope.best)]:
        return False
    by_chance = bdtrc(int(at_edge[top].sum()) - 1, count, float(at_edge.mean()))
    return bool(by_chance < UNLIKELY)


def _at_edge(column: Column, positions: NDArray[np.intp], *, up: bool) -> NDArray[np.bool_]:
    numbers = column.numbers[column.codes[positions]]
    tried = numbers_of(column)
    if len(tried) <= FEW_VALUES:
        return np.asarray(numbers == (tried[-1] if up else tried[0]))
    known = numbers[np.isfinite(numbers)]
    border = np.quantile(known, 1 - OUTER if up else OUTER)
    return np.asarray(numbers >= border if up else numbers <= border)


def _top_count(scope: Scope) -> int:
    scored = int(np.isfinite(scope.means).sum())
    return max(MIN_TOP, math.ceil(TOP_SHARE * scored))


def _random_hint(scope: Scope, column: Column, *, up: bool) -> Advice | None:
    tried = numbers_of(column)
    imports = None
    if len(tried) <= FEW_VALUES:
        values = beyond(column, up=up)
        line = grid_line(column.name, values)
        if len(values) < 2:
            return None
    else:
        proposed = distribution(column, up=up)
        if proposed is None:
            return None
        line, imports = proposed
    scored = np.flatnonzero(np.isfinite(scope.means))
    top = scored[np.lexsort((scored, -scope.means[scored]))[: _top_count(scope)]]
    middle = float(np.nanmedian(column.numbers[column.codes[top]]))
    edge = "largest" if up else "smallest"
    text = (
        f"The best {len(top)} of {len(scored)} candidates have {column.name} near the {edge} value"
        f" tried: their median is {plain_number(middle, 3)}, the {edge}"
        f" {plain_number(float(tried[-1 if up else 0]), 3)}."
        f" Extend the range{_limit(column, up=up)}."
    )
    return Advice(kind="edge", parameter=column.name, text=text, line=line, imports=imports)


def _number_of(column: Column) -> str:
    count = len(numbers_of(column))
    return f"of the {count} values" if count > 2 else "value"


def _limit(column: Column, *, up: bool) -> str:
    limited = up and last_part(column.name) in FEATURES
    return " if the data have more features" if limited else ""
