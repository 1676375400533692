"""Means over the splits, and the best candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .records import CandidateTable, Floats


def mean_scores(table: CandidateTable) -> Floats:
    """Return the mean score of each candidate; NaN if a split has no score, as in scikit-learn."""
    if table.scores.shape[1] == 0:
        return np.full(len(table.params), np.nan)
    return np.asarray(table.scores.mean(axis=1), dtype=np.float64)


def mean_fit_seconds(table: CandidateTable) -> Floats:
    """Return the mean fit time of each candidate over its known times, in seconds; NaN for none."""
    known = np.isfinite(table.fit_seconds)
    total = np.where(known, table.fit_seconds, 0.0).sum(axis=1)
    count = known.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def rungs(table: CandidateTable) -> NDArray[np.intp]:
    """Return the iteration of each candidate; 0 in searches without halving."""
    if table.rung:
        return np.array(table.rung, dtype=np.intp)
    return np.zeros(len(table.params), dtype=np.intp)


def best_row(table: CandidateTable, rows: Sequence[int] | None = None) -> int | None:
    """Return the best of some rows: scikit-learn's choice if it is among them, else the best mean.

    In a halving search the best mean is that of the last iteration with a score. The first of equal
    candidates wins, as in scikit-learn.
    """
    own = np.arange(len(table.params)) if rows is None else np.array(rows, dtype=np.intp)
    if table.best_index is not None and table.best_index in own:
        return table.best_index
    means = mean_scores(table)[own]
    scored = np.isfinite(means)
    if not scored.any():
        return None
    steps = rungs(table)[own]
    last = scored & (steps == steps[scored].max())
    return int(own[np.argmax(np.where(last, means, -np.inf))])
