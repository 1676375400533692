"""Complete grids: every combination of the parameters' values, as an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from .columns import Column

MAX_CELLS = 1_000_000
"""Maximum number of combinations that are laid out; 8 MB for one number each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CompleteGrid:
    """Candidates laid out along the parameters that vary, one axis each."""

    columns: tuple[Column, ...]
    """Parameters with at least two values, over the same candidates."""

    places: NDArray[np.intp]
    """Position of a candidate for each combination, shape (values of each column). Of equal
    candidates the first."""

    def axis(self, name: str) -> int:
        """Return the axis of a parameter."""
        return [column.name for column in self.columns].index(name)

    def slice_through(self, position: int, name: str) -> NDArray[np.intp]:
        """Return the positions along one parameter that otherwise equal a candidate."""
        index: list[int | slice] = [int(column.codes[position]) for column in self.columns]
        index[self.axis(name)] = slice(None)
        return np.asarray(self.places[tuple(index)])


def complete_grid(columns: Sequence[Column]) -> CompleteGrid | None:
    """Lay out the candidates; None unless every combination of values is among them."""
    varying = tuple(column for column in columns if len(column.values) > 1)
    shape = tuple(len(column.values) for column in varying)
    count = len(columns[0].codes) if columns else 0
    if not varying or prod(shape) > min(count, MAX_CELLS):
        return None
    flat = np.ravel_multi_index(tuple(column.codes for column in varying), shape)
    cells, first = np.unique(flat, return_index=True)
    if len(cells) < prod(shape):
        return None
    return CompleteGrid(columns=varying, places=first.reshape(shape))
