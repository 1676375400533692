"""Columns: the values of one parameter over some candidates, as codes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .records import Axis, CandidateTable, Floats
from .texts import value_text
from .values import COUNT_OR_FRACTION, as_number, last_part, value_key

Codes = NDArray[np.intp]

LOG_RATIO = 4.0
"""Smallest ratio of the largest to the smallest number on a logarithmic axis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """Values of one parameter over some candidates."""

    name: str
    values: tuple[Any, ...]
    """Distinct values: numbers in ascending order, then the others in order of appearance."""

    codes: Codes
    """Position in `values` for each candidate."""

    numbers: Floats
    """The values as numbers; NaN for a value that is none."""

    axis: Axis

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as short texts."""
        return tuple(value_text(value) for value in self.values)

    def setting(self, code: int) -> str:
        """Return ``name=value`` as short text."""
        return f"{self.name}={value_text(self.values[code])}"

    def take(self, positions: NDArray[Any]) -> Column:
        """Return the column over some of its candidates, with the same codes."""
        return Column(
            name=self.name,
            values=self.values,
            codes=self.codes[positions],
            numbers=self.numbers,
            axis=self.axis,
        )


def make_columns(table: CandidateTable, rows: Sequence[int]) -> tuple[Column, ...]:
    """Code the parameters of candidates that have the same parameters.

    Parameters with a single value are included.
    """
    if not rows:
        return ()
    return tuple(
        _column(name, [table.params[row][name] for row in rows]) for name in table.params[rows[0]]
    )


def axis_of(numbers: Floats) -> Axis:
    """Choose the axis of distinct values; NaN stands for a value that is no number.

    The axis is logarithmic if the median is nearer to the middle of the logarithms' range than to
    the middle of the numbers' range.
    """
    if not np.isfinite(numbers).all() or len(numbers) == 0:
        return "category"
    low, high = float(numbers.min()), float(numbers.max())
    if low <= 0:
        above = numbers[numbers > 0]
        # 0 beside log-spaced numbers has no place on a logarithmic axis.
        odd = low == 0 and len(above) > 1 and axis_of(above) == "log"
        return "category" if odd else "linear"
    if high < LOG_RATIO * low:
        return "linear"
    if len(numbers) == 2:
        return "log"
    middle = float(np.median(numbers))
    linear = abs((middle - low) / (high - low) - 0.5)
    bottom, centre, top = np.log([low, middle, high])
    logs = abs((centre - bottom) / (top - bottom) - 0.5)
    return "log" if logs < linear else "linear"


def _column(name: str, values: Sequence[Any]) -> Column:
    firsts: dict[Hashable, int] = {}
    distinct: list[Any] = []
    # A grid repeats its objects, and the key of an estimator takes long.
    known: dict[int, int] = {}
    found = np.empty(len(values), dtype=np.intp)
    for position, value in enumerate(values):
        code = known.get(id(value))
        if code is None:
            code = firsts.setdefault(value_key(value), len(distinct))
            if code == len(distinct):
                distinct.append(value)
            known[id(value)] = code
        found[position] = code
    numbers = _numbers(name, distinct)
    order = np.lexsort((np.arange(len(distinct)), numbers))  # NaN last
    places = np.empty(len(distinct), dtype=np.intp)
    places[order] = np.arange(len(distinct))
    return Column(
        name=name,
        values=tuple(distinct[code] for code in order),
        codes=places[found],
        numbers=numbers[order],
        axis=axis_of(numbers),
    )


def _numbers(name: str, values: Sequence[Any]) -> Floats:
    numbers = [as_number(value) for value in values]
    kinds = {
        isinstance(value, int | np.integer) for value in values if as_number(value) is not None
    }
    if len(kinds) > 1 and last_part(name) in COUNT_OR_FRACTION:
        return np.full(len(values), np.nan)  # 5 and 0.5 are not on one axis
    return np.array([np.nan if number is None else number for number in numbers])
