"""Effects: scores over the values of each parameter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .columns import Column, make_columns
from .comparable import comparable
from .families import first_rows, split_families
from .means import mean_scores
from .records import CandidateTable, Effect, EffectValue, Floats

TREND_FROM = 20
"""Smallest number of distinct numbers of a parameter with a trend."""

TREND_POINTS = 10
"""Number of groups of a trend."""


def effects(table: CandidateTable) -> tuple[Effect, ...]:
    """Return the effect of each parameter in each family; parameters with one value are left out.

    In a halving search: the effect in the first iteration of the family.
    """
    table = comparable(table)
    means = mean_scores(table)
    found: list[Effect] = []
    for family in split_families(table):
        rows = first_rows(table, family)
        found += [
            _effect(family.index, column, rows, means[rows])
            for column in make_columns(table, rows.tolist())
            if len(column.values) > 1
        ]
    return tuple(found)


def _effect(family: int, column: Column, rows: NDArray[np.intp], means: Floats) -> Effect:
    order = np.argsort(column.codes, kind="stable")
    starts = np.searchsorted(column.codes[order], np.arange(len(column.values) + 1))
    numbers = column.numbers if column.axis != "category" else None
    values = tuple(
        _value(
            text,
            None if numbers is None else float(numbers[code]),
            rows[order[starts[code] : starts[code + 1]]],
            means[order[starts[code] : starts[code + 1]]],
        )
        for code, text in enumerate(column.texts)
    )
    return Effect(
        family=family,
        name=column.name,
        axis=column.axis,
        values=values,
        trend=_trend(column, means),
    )


def _value(text: str, number: float | None, rows: NDArray[np.intp], means: Floats) -> EffectValue:
    scored = means[np.isfinite(means)]
    return EffectValue(
        text=text,
        number=number,
        mean=float(scored.mean()) if len(scored) else None,
        best=float(scored.max()) if len(scored) else None,
        rows=tuple(rows.tolist()),
        scored=len(scored),
    )


def _trend(column: Column, means: Floats) -> tuple[tuple[float, float], ...]:
    if column.axis == "category" or len(column.values) < TREND_FROM:
        return ()
    scored = np.isfinite(means)
    numbers, scores = column.numbers[column.codes[scored]], means[scored]
    if len(scores) < TREND_FROM or len(column.values) * 2 < len(column.codes):
        return ()
    order = np.lexsort((scores, numbers))
    log = column.axis == "log"
    return tuple(
        (_middle(numbers[part], log=log), float(scores[part].mean()))
        for part in np.array_split(order, TREND_POINTS)
    )


def _middle(numbers: Floats, *, log: bool) -> float:
    return float(np.exp(np.log(numbers).mean())) if log else float(numbers.mean())
