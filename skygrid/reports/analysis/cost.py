"""Cost: mean score against mean fit time."""

from __future__ import annotations

import numpy as np

from .comparable import comparable
from .means import best_row, mean_fit_seconds, mean_scores, rungs
from .records import Bools, CandidateTable, Cost, CostPoint, Floats


def cost(table: CandidateTable) -> Cost:
    """Return scores and fit times, and the Pareto front of better and faster candidates.

    Equal candidates are all on the front.
    """
    table = comparable(table)
    means, seconds = mean_scores(table), mean_fit_seconds(table)
    known = np.isfinite(means) & np.isfinite(seconds)
    best = best_row(table)
    if best is not None:
        known &= rungs(table) == rungs(table)[best]
    rows = np.flatnonzero(known)
    rows = rows[np.lexsort((rows, -means[rows], seconds[rows]))]
    front = pareto_front(seconds[rows], means[rows])
    derived = _derived(table)
    points = tuple(
        CostPoint(
            row=int(row),
            fit_seconds=float(seconds[row]),
            score=float(means[row]),
            derived=bool(derived[row]),
            on_front=bool(on_front),
        )
        for row, on_front in zip(rows, front, strict=True)
    )
    return Cost(points=points, front=tuple(int(place) for place in np.flatnonzero(front)))


def pareto_front(seconds: Floats, scores: Floats) -> Bools:
    """Report which points no other point beats.

    A point is beaten by one that is at least as fast and at least as good, and better in one.

    Parameters
    ----------
    seconds, scores : ndarray of shape (n_points,)
        Sorted by ascending seconds, equal ones by descending scores.
    """
    if not len(seconds):
        return np.zeros(0, dtype=np.bool_)
    best = np.maximum.accumulate(scores)
    first = np.concatenate(([True], scores[1:] > best[:-1]))
    # A point that equals the last one on the front is on it too.
    leader = np.maximum.accumulate(np.where(first, np.arange(len(scores)), 0))
    equal = (scores == scores[leader]) & (seconds == seconds[leader])
    return np.asarray(first | equal)


def _derived(table: CandidateTable) -> Bools:
    if table.derived is None:
        return np.zeros(len(table.params), dtype=np.bool_)
    return np.asarray(table.derived.any(axis=1))
