"""Tables of candidates for the tests of the analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid

from skygrid.reports.analysis.records import CandidateTable


def table_of(
    params: Sequence[Mapping[str, Any]],
    scores: Any,
    *,
    fit_seconds: Any = None,
    **fields: Any,
) -> CandidateTable:
    """Make a table; fit times of one second unless given."""
    values = np.asarray(scores, dtype=np.float64)
    seconds = np.ones_like(values) if fit_seconds is None else np.asarray(fit_seconds, dtype=float)
    return CandidateTable(params=tuple(params), scores=values, fit_seconds=seconds, **fields)


def grid_table(
    grid: Any,
    mean: Callable[[Mapping[str, Any]], float],
    *,
    noise: float = 0.0,
    splits: int = 5,
    seconds: Callable[[Mapping[str, Any]], float] | None = None,
    seed: int = 0,
    **fields: Any,
) -> CandidateTable:
    """Make the table of a grid, or of a list of candidates, whose mean score is a function.

    Splits differ by the same amounts for all candidates; `noise` is the spread of each fit besides.
    """
    params = list(ParameterGrid(grid)) if isinstance(grid, dict) else list(grid)
    random = np.random.RandomState(seed)
    offsets = np.linspace(-0.01, 0.01, splits)
    means = np.array([[mean(one)] for one in params])
    scores = means + offsets + noise * random.normal(size=(len(params), splits))
    times = None
    if seconds is not None:
        times = np.array([[seconds(one)] * splits for one in params])
    return table_of(params, scores, fit_seconds=times, **fields)
