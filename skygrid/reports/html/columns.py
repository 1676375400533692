"""Outcomes and ``cv_results_`` as one table of candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skygrid.journal.plan_values import PlanValues
from skygrid.plan.records import Outcome
from skygrid.reports.html.records import Candidates, PerSplit, Score
from skygrid.reports.html.values import is_object
from skygrid.reports.plain_values import from_plain, plain_text
from skygrid.worker.wire.messages.results import Scores
from skygrid.worker.wire.scores import number_from_wire

_Table = list[list[Score]]


def first_rows(outcomes: Sequence[Outcome], plans: Mapping[int, PlanValues]) -> dict[int, int]:
    """Return the row of the first candidate of each round."""
    sizes = {round: len(plan.candidates) for round, plan in plans.items()}
    for one in outcomes:
        if one.round not in plans:  # its plan was too large to keep
            sizes[one.round] = max(sizes.get(one.round, 0), one.candidate + 1)
    offsets, row = {}, 0
    for round in sorted(sizes):
        offsets[round] = row
        row += sizes[round]
    offsets[-1] = row
    return offsets


def n_splits(outcomes: Sequence[Outcome], plans: Mapping[int, PlanValues]) -> int:
    """Return the largest number of splits of a round."""
    planned = max((len(plan.n_train) for plan in plans.values()), default=0)
    return max(planned, 1 + max((one.split for one in outcomes), default=-1))


def candidates_of(
    outcomes: Sequence[Outcome],
    plans: Mapping[int, PlanValues],
    results: Mapping[str, Sequence[Any]],
    offsets: Mapping[int, int],
) -> Candidates:
    """Return all candidates of a run with their scores.

    Parameters
    ----------
    outcomes : sequence of Outcome
    plans : mapping of int to PlanValues
        By round.
    results : mapping of str to sequence
        ``cv_results`` of the result document; empty for a partial report.
    offsets : mapping of int to int
        From `first_rows`.
    """
    n_rows = offsets[-1]
    written = list(results.get("params", ()))
    if len(written) != n_rows:
        results, written = {}, []  # the document is about an earlier state of the run
    params = [one for round in sorted(offsets) if round in plans for one in plans[round].candidates]
    if len(params) != n_rows:
        params = [_decoded(one) for one in written] or [{} for _ in range(n_rows)]
    columns = _Columns(n_rows, n_splits(outcomes, plans))
    for one in outcomes:
        columns.add(offsets[one.round] + one.candidate, one)
    means = {name: _column(results, f"mean_test_{name}", table, columns.failed, _mean)
             for name, table in columns.test.items()}  # fmt: skip
    return Candidates(
        params=tuple(dict(one) for one in params),
        texts=tuple(
            {name: plain_text(text.get(name)) for name, value in one.items() if is_object(value)}
            for one, text in zip(params, written, strict=False)
        ),
        rounds=tuple(
            round
            for round, first in sorted(offsets.items())
            if round >= 0
            for _ in range(_size(round, offsets) - first)
        ),
        n_train=tuple(
            plans[round].n_train[0] if round in plans and plans[round].n_train else 0
            for round, first in sorted(offsets.items())
            if round >= 0
            for _ in range(_size(round, offsets) - first)
        ),
        resources=tuple(results.get("n_resources", ())),
        scores={
            name: _per_split(results, "test", name, table) for name, table in columns.test.items()
        },
        train_scores={
            name: _per_split(results, "train", name, table) for name, table in columns.train.items()
        },
        means=means,
        stds={
            name: _column(results, f"std_test_{name}", table, columns.failed, _std)
            for name, table in columns.test.items()
        },
        ranks={
            name: tuple(map(int, results[f"rank_test_{name}"]))
            if f"rank_test_{name}" in results
            else _ranks(means[name])
            for name in columns.test
        },
        fit_seconds=_frozen(columns.seconds),
        derived=tuple(columns.derived),
        done=tuple(columns.done),
        failed=tuple(columns.failed),
    )


def _decoded(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a result document as values; objects are their repr."""
    return {name: from_plain(value) for name, value in params.items()}


def _size(round: int, offsets: Mapping[int, int]) -> int:
    """Return the row behind the last candidate of a round."""
    later = [first for other, first in offsets.items() if other > round]
    return min(later, default=offsets[-1])


class _Columns:
    """Tables that are filled outcome by outcome."""

    def __init__(self, n_rows: int, n_splits: int) -> None:
        self._shape = n_rows, n_splits
        self.test: dict[str, _Table] = {}
        self.train: dict[str, _Table] = {}
        self.seconds = self._table()
        self.derived = [False] * n_rows
        self.done = [0] * n_rows
        self.failed = [0] * n_rows

    def _table(self) -> _Table:
        n_rows, n_splits = self._shape
        return [[None] * n_splits for _ in range(n_rows)]

    def add(self, row: int, one: Outcome) -> None:
        self.done[row] += 1
        self.failed[row] += one.fit_error is not None
        self.seconds[row][one.split] = one.fit_seconds
        self.derived[row] |= one.answered_by >= 0 or one.prefix_kept
        self._put(self.test, row, one.split, one.test_scores)
        self._put(self.train, row, one.split, one.train_scores)

    def _put(self, tables: dict[str, _Table], row: int, split: int, scores: Scores | None) -> None:
        if scores is None:
            return
        named = scores if isinstance(scores, dict) else {"score": scores}
        for name, score in named.items():
            table = tables.get(name)
            if table is None:
                table = tables[name] = self._table()
            table[row][split] = _number(score)


def _number(score: Any) -> Score:
    try:
        number = float(number_from_wire(score).real)
    except (TypeError, ValueError, OverflowError):  # a user's scorer may return anything
        return None
    return number if math.isfinite(number) else None


def _frozen(table: _Table) -> PerSplit:
    return tuple(map(tuple, table))


def _per_split(
    results: Mapping[str, Sequence[Any]], part: str, name: str, table: _Table
) -> PerSplit:
    """Return scikit-learn's own scores, which have the error score of failed fits."""
    n_splits = len(table[0]) if table else 0
    keys = [f"split{split}_{part}_{name}" for split in range(n_splits)]
    if n_splits and all(key in results for key in keys):
        return tuple(zip(*(results[key] for key in keys), strict=True))
    return _frozen(table)


def _column(
    results: Mapping[str, Sequence[Any]],
    key: str,
    table: _Table,
    failed: Sequence[int],
    reduce: Any,
) -> tuple[Score, ...]:
    """Return scikit-learn's own column, or one made from the scores so far.

    A candidate with a failed fit has no mean, as in scikit-learn: the other splits may be the easy
    ones.
    """
    if key in results:
        return tuple(results[key])
    return tuple(
        reduce(scores) if scores and not failures else None
        for row, failures in zip(table, failed, strict=True)
        for scores in ([one for one in row if one is not None],)
    )


def _mean(scores: list[float]) -> float:
    return math.fsum(scores) / len(scores)


def _std(scores: list[float]) -> float:
    mean = _mean(scores)
    return math.sqrt(math.fsum((one - mean) ** 2 for one in scores) / len(scores))


def _ranks(means: Sequence[Score]) -> tuple[int, ...]:
    """Return the rank of each mean, from 1; equal means have the smallest of their ranks."""
    ordered = sorted(-mean for mean in means if mean is not None)
    first: dict[float, int] = {}
    for place, value in enumerate(ordered, start=1):
        first.setdefault(value, place)
    last = len(ordered) + 1
    return tuple(last if mean is None else first[-mean] for mean in means)
