"""Scope of a hint: the candidates of one family in its first iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skygrid.reports.analysis.columns import Column, make_columns
from skygrid.reports.analysis.families import first_rows
from skygrid.reports.analysis.grids import CompleteGrid, complete_grid
from skygrid.reports.analysis.means import mean_scores
from skygrid.reports.analysis.records import CandidateTable, Family, Floats
from skygrid.reports.analysis.resampled_t_test import one_sided_p, size_ratio, t_statistics

IGNORED = frozenset({"cache_size", "n_jobs", "random_state", "seed", "verbose"})
"""Parameters whose numbers have no order that a search could follow."""

CLEAR = 0.1
"""One-sided p-value below which a difference is clear, if it is so twice."""

SURE = 0.02
"""One-sided p-value below which a difference is clear without other combinations to confirm it."""

SUPPORT = 0.25
"""Part of the other parameters' combinations that confirm a difference; at least `MIN_SUPPORT`."""

MIN_SUPPORT = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Scope:
    """Candidates of one family. Positions in its arrays are not rows of the table."""

    table: CandidateTable
    family: Family
    rows: NDArray[np.intp]
    columns: tuple[Column, ...]
    """Parameters with at least two values."""

    scores: Floats
    """Shape (n_candidates, n_splits)."""

    means: Floats
    best: int
    """Position of the candidate with the parameters of the family's best one."""

    grid: CompleteGrid | None
    """None if the candidates are no complete grid, as in a random search."""

    def beats(self, column: Column, one: int, other: int) -> bool:
        """Report whether a value of a grid's parameter is clearly better than another one.

        The best candidate owes its place partly to chance, so its own scores are no proof. The same
        difference must be clear for other good combinations of the other parameters.

        Parameters
        ----------
        column : Column
        one, other : int
            Codes of the values.
        """
        assert self.grid is not None
        along = self.grid.slice_through(self.best, column.name)
        first, second = self.scores[along[one]], self.scores[along[other]]
        if not first.mean() > second.mean():
            return False
        support = self._support(column)
        if support is None:
            return self._clear(first, second, SURE)
        return self._clear(first, second, CLEAR) and self._clear(
            support[one], support[other], CLEAR
        )

    def _support(self, column: Column) -> Floats | None:
        """Return the scores of each value, averaged over other good combinations.

        These are the best quarter of the other parameters' combinations, each judged by its best
        value, without the combination of the best candidate. Shape (n_values, n_splits); None if
        there are no others.
        """
        assert self.grid is not None
        axis = self.grid.axis(column.name)
        places = np.moveaxis(self.grid.places, axis, 0).reshape(len(column.values), -1)
        complete = np.isfinite(self.means[places]).all(axis=0)
        places = places[:, complete & ~(places == self.best).any(axis=0)]
        if not places.shape[1]:
            return None
        count = max(MIN_SUPPORT, math.ceil(SUPPORT * places.shape[1]))
        good = np.argsort(-self.means[places].max(axis=0), kind="stable")[:count]
        return np.asarray(self.scores[places[:, good]].mean(axis=1))

    def _clear(self, better: Floats, worse: Floats, level: float) -> bool:
        """Report whether the mean is better by more than chance; on one split, whether it is."""
        splits = len(better)
        if splits < 2:
            return bool(better[0] > worse[0])
        ratio = size_ratio(self.table)[self.rows[:1]]
        t = t_statistics(better, worse[None, :], ratio)
        return bool(one_sided_p(t, splits)[0] < level)


def make_scope(table: CandidateTable, family: Family, best: int) -> Scope | None:
    """Make the scope of a family.

    Parameters
    ----------
    table : CandidateTable
    family : Family
    best : int
        Row of the best candidate, one of the family.

    Returns
    -------
    scope : Scope or None
        None if the first iteration lacks the best candidate, or its score.
    """
    rows = first_rows(table, family)
    # The best row goes last, so that its codes are known although its iteration may be another.
    columns = make_columns(table, [*rows.tolist(), best])
    same = np.ones(len(rows), dtype=np.bool_)
    for column in columns:
        same &= column.codes[:-1] == column.codes[-1]
    means = mean_scores(table)[rows]
    found = np.flatnonzero(same & np.isfinite(means))
    if not len(found):
        return None
    own = tuple(column.take(np.arange(len(rows))) for column in columns)
    exact = np.flatnonzero(rows == best)
    return Scope(
        table=table,
        family=family,
        rows=rows,
        columns=tuple(column for column in own if len(column.values) > 1),
        scores=table.scores[rows],
        means=means,
        best=int(exact[0]) if len(exact) and np.isfinite(means[exact[0]]) else int(found[0]),
        grid=complete_grid(own),
    )
