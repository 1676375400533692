"""Values to try next, and the line of the grid that has them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from skygrid.reports.analysis.columns import Column, axis_of
from skygrid.reports.analysis.records import Axis, Floats
from skygrid.reports.analysis.values import COUNT_OR_FRACTION, last_part, literal

MAX_LINE = 400
"""Maximum length of a line to paste, in characters; a longer one is left out."""

MINIMUM = {"max_bins": 2, "max_leaf_nodes": 2, "min_samples_split": 2, "n_bins": 2, "n_knots": 2}
"""Smallest valid integers, where it is not 1."""

MAXIMUM = {"max_bins": 255, "contamination": 0.5, "n_components": 0.99, "validation_fraction": 0.9}
"""Largest values. Of `n_components` for floats alone."""

FRACTIONS = frozenset(
    {
        "beta_1",
        "beta_2",
        "colsample_bylevel",
        "colsample_bynode",
        "colsample_bytree",
        "l1_ratio",
        "momentum",
        "nu",
        "quantile",
        "subsample",
    }
)
"""Parameters that are at most 1."""


def grid_line(name: str, values: Iterable[Any]) -> str | None:
    """Return ``"C": [1, 10],``; None if a value has no literal or the line is too long."""
    texts = [literal(value) for value in values]
    known = [text for text in texts if text is not None]
    if len(known) < len(texts):
        return None
    line = f"{literal(name)}: [{', '.join(known)}],"
    return line if len(line) <= MAX_LINE else None


def numbers_of(column: Column) -> Floats:
    """Return the distinct numbers among a column's values, ascending."""
    return np.unique(column.numbers[np.isfinite(column.numbers)])


def are_integers(column: Column) -> bool:
    """Report whether all numbers of a column are integers."""
    return all(
        isinstance(value, int | np.integer)
        for value, number in zip(column.values, column.numbers, strict=True)
        if math.isfinite(number)
    )


def bounds(column: Column) -> tuple[float, float]:
    """Return the natural bounds of a parameter, as far as its name and values show them.

    Positive numbers stay positive. Floats from 0 to 1 in equal steps may be fractions, so they stay
    at most 1.
    """
    name, numbers = last_part(column.name), numbers_of(column)
    lowest, highest = float(numbers[0]), float(numbers[-1])
    if are_integers(column):
        low = MINIMUM.get(name, 1) if lowest > 0 else 0 if lowest == 0 else -math.inf
        high = MAXIMUM.get(name, math.inf)
        return low, high if high > 1 else math.inf
    low = 0.0 if lowest >= 0 else -math.inf
    if name in MAXIMUM:
        return low, MAXIMUM[name]
    fraction = name in FRACTIONS or name in COUNT_OR_FRACTION
    in_steps = lowest >= 0 and highest <= 1 and axis_of(numbers) == "linear"
    return low, 1.0 if fraction or in_steps else math.inf


def beyond(column: Column, *, up: bool) -> list[float]:
    """Return the last number of a range and up to two beyond it, ascending.

    The steps are those at the end of the range. Only the last number if its bound is reached.
    """
    numbers = numbers_of(column)
    edge, inner = (numbers[-1], numbers[-2]) if up else (numbers[0], numbers[1])
    low, high = bounds(column)
    if axis_of(numbers) == "log":
        steps = [edge * (edge / inner) ** power for power in (1, 2)]
    else:
        steps = [edge + (edge - inner) * times for times in (1, 2)]
        if not up and steps[-1] <= 0 < edge:
            steps = [edge / 2, edge / 4]
    inside = [min(max(step, low), high) for step in steps]
    new = {_rounded(step, integer=are_integers(column)) for step in inside if step or low}
    outside = {value for value in new if (value > edge if up else value < edge)}
    return sorted({*outside, _rounded(edge, integer=are_integers(column))})


def between(column: Column, low: float, middle: float, high: float) -> list[float]:
    """Return a number with up to two new ones towards each neighbour, ascending."""
    parts: list[float] = [middle]
    for neighbour in (low, high):
        log = axis_of(numbers_of(column)) == "log"
        parts += (np.geomspace if log else np.linspace)(middle, neighbour, 4)[1:3].tolist()
    integer = are_integers(column)
    new = {_rounded(part, integer=integer, digits=2) for part in parts if part != middle}
    return sorted({*new, _rounded(middle, integer=integer)} - {low, high})


def distribution(column: Column, *, up: bool) -> tuple[str, str] | None:
    """Return the line and import of a distribution that reaches beyond the drawn numbers.

    It covers the outer half of their range and half as much again, on their axis. None if a
    bound is reached.
    """
    numbers = numbers_of(column)
    low, high = float(numbers[0]), float(numbers[-1])
    least, most = bounds(column)
    axis = axis_of(numbers)
    start, end = _outer(low, high, axis, up=up)
    start, end = max(start, least), min(end, most)
    near = 0.02 * (high - low)
    if (end <= high + near) if up else (start >= low - near and axis != "log"):
        return None
    name = literal(column.name)
    if are_integers(column):
        text = f"randint({math.floor(start)}, {math.ceil(end) + 1})"
    elif axis == "log":
        text = f"loguniform({_short(start)}, {_short(end)})"
    else:
        text = f"uniform({_short(start)}, {_short(end - start)})"
    return f"{name}: {text},", f"from scipy.stats import {text.partition('(')[0]}"


def _outer(low: float, high: float, axis: Axis, *, up: bool) -> tuple[float, float]:
    if axis == "log":
        middle = math.sqrt(low * high)
        factor = min(100.0, (high / low) ** 0.5)
        return (middle, high * factor) if up else (low / factor, middle)
    middle, width = (low + high) / 2, high - low
    return (middle, high + width / 2) if up else (low - width / 2, middle)


def _rounded(value: float, *, integer: bool, digits: int = 6) -> float:
    return round(value) if integer else float(f"{value:.{digits}g}")


def _short(value: float) -> str:
    return repr(float(f"{value:.2g}"))
