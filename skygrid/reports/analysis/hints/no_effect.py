"""Hints: a score that never varies, and a parameter that changes nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skygrid.reports.analysis.columns import Column
from skygrid.reports.analysis.records import Advice
from skygrid.reports.analysis.resampled_t_test import EQUAL
from skygrid.reports.analysis.texts import score_text
from skygrid.reports.plain_values import count_text

from .proposals import MAX_LINE, grid_line
from .scope import Scope


def constant_hint(scope: Scope) -> list[Advice]:
    """Return a hint if all candidates with a score have the same mean score."""
    means = scope.means[np.isfinite(scope.means)]
    if len(means) < 2 or not scope.columns or np.ptp(means) > EQUAL * np.abs(means).max():
        return []
    text = (
        f"All {len(means)} candidates have the same mean {scope.table.metric},"
        f" {score_text(float(means[0]))}. Check that the parameters reach the model and that the"
        " metric can see a difference, or search other parameters."
    )
    return [Advice(kind="constant", text=text)]


def no_effect_hints(scope: Scope) -> list[Advice]:
    """Return a hint for each parameter of a complete grid that changes no score.

    If there is none: for a parameter that changes no score beside one value of another parameter,
    as ``gamma`` of a linear kernel.
    """
    grid = scope.grid
    if grid is None or len(grid.columns) < 2 or not np.isfinite(scope.scores).all():
        return []
    scores = scope.scores[grid.places]
    idle = [column for axis, column in enumerate(grid.columns) if _flat(scores, axis)]
    if idle:
        return [_whole(scope, column) for column in idle]
    return _partly(scope, grid.columns, scores)


def _flat(scores: NDArray[np.float64], axis: int) -> bool:
    """Report whether the scores are equal along an axis, rounding aside."""
    return bool(np.ptp(scores, axis=axis).max() <= EQUAL * np.abs(scores).max())


def _whole(scope: Scope, column: Column) -> Advice:
    count, fewer = len(scope.means), len(scope.means) // len(column.values)
    text = (
        f"{column.name} changes nothing: its {len(column.values)} values have equal scores in every"
        f" combination with the other parameters. One value needs {fewer} candidates instead of"
        f" {count}."
    )
    best = column.values[int(column.codes[scope.best])]
    line = grid_line(column.name, [best])
    return Advice(kind="no-effect", parameter=column.name, text=text, line=line)


def _partly(scope: Scope, columns: tuple[Column, ...], scores: NDArray[np.float64]) -> list[Advice]:
    found = []
    for axis, switch in enumerate(columns):
        if switch.axis != "category":
            continue
        for code in range(len(switch.values)):
            part = np.take(scores, [code], axis=axis)
            idle = [
                column
                for other, column in enumerate(columns)
                if other != axis and _flat(part, other)
            ]
            # All parameters idle: the switch is a fault or a dummy, and one hint would mislead.
            if idle and len(idle) < len(columns) - 1:
                found.append(_beside(scope, switch, code, idle, columns))
    return found[:1]


def _beside(
    scope: Scope, switch: Column, code: int, idle: list[Column], columns: tuple[Column, ...]
) -> Advice:
    count = len(scope.means)
    here = count // len(switch.values)
    spare = here - here // int(np.prod([len(column.values) for column in idle]))
    names = " and ".join(column.name for column in idle)
    text = (
        f"{names} {'changes' if len(idle) == 1 else 'change'} nothing where"
        f" {switch.setting(code)}: {count_text(spare, 'candidate')} of {count}"
        f" {'repeats' if spare == 1 else 'repeat'} the scores of others. Give such values a grid of"
        " their own."
    )
    line = None if scope.family.label else _two_grids(switch, code, idle, columns)
    return Advice(kind="no-effect", parameter=idle[0].name, text=text, line=line)


def _two_grids(
    switch: Column, code: int, idle: list[Column], columns: tuple[Column, ...]
) -> str | None:
    own = [column for column in columns if column not in idle]
    first = _grid_text(own, {switch.name: [switch.values[code]]})
    rest = [value for place, value in enumerate(switch.values) if place != code]
    second = _grid_text(columns, {switch.name: rest})
    if first is None or second is None:
        return None
    line = f"param_grid = [\n    {first},\n    {second},\n]"
    return line if len(line) <= MAX_LINE else None


def _grid_text(
    columns: tuple[Column, ...] | list[Column], replaced: dict[str, list[object]]
) -> str | None:
    lines = [grid_line(column.name, replaced.get(column.name, column.values)) for column in columns]
    known = [line.removesuffix(",") for line in lines if line is not None]
    return "{" + ", ".join(known) + "}" if len(known) == len(lines) else None
