"""Families: candidates of a search that can be compared value by value."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skygrid.reports.plain_values import shorten

from .comparable import comparable
from .means import best_row, mean_scores, rungs
from .records import CandidateTable, Family
from .texts import value_text
from .values import is_predictor, value_key

LABEL_WIDTH = 60
"""Maximum length of a family's label, in characters."""


def split_families(table: CandidateTable) -> tuple[Family, ...]:
    """Split the candidates into families, in the order of their first candidates.

    Candidates are of one family if they come from one dict of the grid, have the same parameters,
    and have predictors of the same classes as values.
    """
    table = comparable(table)
    groups: dict[Hashable, list[int]] = {}
    classes: dict[int, Hashable] = {}
    for row, params in enumerate(table.params):
        grid = table.family[row] if table.family else 0
        predictors = tuple(_predictor_class(value, classes) for value in params.values())
        groups.setdefault((grid, frozenset(params), predictors), []).append(row)
    every = [tuple(rows) for rows in groups.values()]
    constants = [_constants(table, rows) for rows in every]
    means = mean_scores(table)
    return tuple(
        _family(table, index, rows, means, _label(index, constants))
        for index, rows in enumerate(every)
    )


def first_rows(table: CandidateTable, family: Family) -> NDArray[np.intp]:
    """Return the rows of a family's first iteration: all rows, except in a halving search.

    Later iterations hold only the best candidates, so their means over a value say little.
    """
    rows = np.array(family.rows, dtype=np.intp)
    own = rungs(table)[rows]
    return np.asarray(rows[own == own.min()])


def family_of(families: Sequence[Family], row: int) -> Family:
    """Return the family that has the row."""
    return next(family for family in families if row in family.rows)


def _predictor_class(value: Any, known: dict[int, Hashable]) -> Hashable:
    if value is None or isinstance(value, str | int | float | tuple):
        return None
    if id(value) not in known:
        kind = type(value)
        known[id(value)] = f"{kind.__module__}.{kind.__qualname__}" if is_predictor(value) else None
    return known[id(value)]


def _family(
    table: CandidateTable,
    index: int,
    rows: tuple[int, ...],
    means: NDArray[np.float64],
    label: str,
) -> Family:
    best = best_row(table, rows)
    family = Family(index=index, label=label, rows=rows, best=best, best_mean=None, median=None)
    first = means[first_rows(table, family)]
    scored = first[np.isfinite(first)]
    return Family(
        index=index,
        label=label,
        rows=rows,
        best=best,
        best_mean=None if best is None else float(means[best]),
        median=float(np.median(scored)) if len(scored) else None,
    )


def _constants(table: CandidateTable, rows: Sequence[int]) -> dict[str, Any]:
    """Return the parameters that have one value in all rows, predictors by their class."""
    first = table.params[rows[0]]
    return {
        name: value
        for name, value in first.items()
        if all(
            table.params[row][name] is value or _alike(table.params[row][name], value)
            for row in rows
        )
    }


def _alike(one: Any, other: Any) -> bool:
    if is_predictor(one):
        return type(one) is type(other)
    return value_key(one) == value_key(other)


def _label(index: int, constants: Sequence[dict[str, Any]]) -> str:
    if len(constants) == 1:
        return ""
    own = constants[index]
    telling = [
        f"{name}={value_text(value)}"
        for name, value in sorted(own.items(), key=lambda item: not is_predictor(item[1]))
        if not all(name in other and _alike(other[name], value) for other in constants)
    ]
    return shorten(", ".join(telling), LABEL_WIDTH) if telling else f"grid {index + 1}"
