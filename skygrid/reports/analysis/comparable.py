"""The comparable part of a search that is not complete."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .records import Bools, CandidateTable, Floats

Values = TypeVar("Values", Floats, Bools)


def comparable(table: CandidateTable) -> CandidateTable:
    """Leave out splits that too few candidates have, while fits are pending.

    The first splits are run for each candidate before the others, so that a search in progress has
    candidates to compare. Splits are kept so that the number of splits times the number of
    candidates with all of them is largest. A complete table is returned as it is.
    """
    if table.failed is None:
        return table
    done = np.isfinite(table.scores) | table.failed
    if done.all() or not done.any():
        return table
    kept = _kept(done)
    if len(kept) == table.scores.shape[1]:
        return table
    return replace(
        table,
        scores=table.scores[:, kept],
        fit_seconds=table.fit_seconds[:, kept],
        train_scores=_part(table.train_scores, kept),
        failed=table.failed[:, kept],
        derived=_part(table.derived, kept),
        n_train=_part(table.n_train, kept),
        n_test=_part(table.n_test, kept),
    )


def _kept(done: Bools) -> NDArray[np.intp]:
    order = np.argsort(-done.sum(axis=0), kind="stable")
    complete = np.logical_and.accumulate(done[:, order], axis=1).sum(axis=0)
    count = int(np.argmax(complete * np.arange(1, len(order) + 1))) + 1
    return np.sort(order[:count])


def _part(values: Values | None, kept: NDArray[np.intp]) -> Values | None:
    return None if values is None else values[..., kept]
