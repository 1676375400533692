"""Results of a search that has not ended, from the outcomes that are recorded."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skygrid.plan.records import Outcome
from skygrid.worker.wire.scores import as_float, from_wire

from .plain_values import plain_parameters, plain_score
from .run_record import RunRecord
from .summary import (
    TOP_CANDIDATES,
    CandidateRow,
    RunFacts,
    Summary,
    fields_of,
)

Candidates = Mapping[int, Sequence[Mapping[str, Any]]]
"""Parameter settings of each round."""


def partial_results(
    candidates: Candidates, outcomes: Sequence[Outcome], splits: int = 0
) -> dict[str, list[Any]]:
    """Return the table of a search in the form of ``cv_results`` in `result.json`.

    Parameters
    ----------
    candidates : mapping of int to sequence
        Parameter settings of each round. A round without them has rows for the candidates with an
        outcome, and no parameters.
    outcomes : sequence of Outcome
        Recorded outcomes.
    splits : int, default=0
        Number of splits, if it is known; else those with an outcome count.

    Returns
    -------
    results : dict of str to list of length n_candidates
        As scikit-learn names its columns, and ``splits_scored``: the number of recorded splits.
        Means and standard deviations are those of the recorded splits. A failed fit counts as NaN,
        so that its candidate has no mean, as in scikit-learn.
    """
    rows = _rows(candidates, outcomes)
    n_splits = max(splits, *(one.split + 1 for one in outcomes), 0)
    table: dict[tuple[int, int], list[Outcome | None]] = {row: [None] * n_splits for row in rows}
    for one in outcomes:
        table[one.round, one.candidate][one.split] = one
    results: dict[str, list[Any]] = {}
    if len({round for round, _ in rows}) > 1:
        results["iter"] = [round for round, _ in rows]
    for name, seconds in (("fit", _fit_seconds), ("score", _score_seconds)):
        _add_statistics(results, f"{name}_time", [_row(row, seconds) for row in table.values()])
    params = [_params(candidates, *row) for row in rows]
    for name in dict.fromkeys(name for one in params for name in one):
        results[f"param_{name}"] = [one.get(name) for one in params]
    results["params"] = params
    for metric in metrics_of(outcomes):
        scores = [_row(row, lambda one, key=metric: _score(one, key)) for row in table.values()]
        for split in range(n_splits):
            column = [row.get(split, math.nan) for row in scores]
            results[f"split{split}_test_{metric}"] = column
        _add_statistics(results, f"test_{metric}", scores)
    results["splits_scored"] = [sum(one is not None for one in row) for row in table.values()]
    return results


def metrics_of(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Return the names of the scores in the outcomes; "score" for a single one."""
    for one in outcomes:
        if one.test_scores is not None and one.test_scores != {}:
            return tuple(one.test_scores) if isinstance(one.test_scores, dict) else ("score",)
    return ("score",)


def _rows(candidates: Candidates, outcomes: Sequence[Outcome]) -> list[tuple[int, int]]:
    sizes = {round: len(there) for round, there in candidates.items()}
    for one in outcomes:
        sizes[one.round] = max(sizes.get(one.round, 0), one.candidate + 1)
    return [(round, number) for round in sorted(sizes) for number in range(sizes[round])]


def _params(candidates: Candidates, round: int, number: int) -> Mapping[str, Any]:
    there = candidates.get(round, ())
    return there[number] if number < len(there) else {}


def _row(outcomes: Sequence[Outcome | None], value: Any) -> dict[int, float]:
    return {split: value(one) for split, one in enumerate(outcomes) if one is not None}


def _fit_seconds(one: Outcome) -> float:
    return one.fit_seconds


def _score_seconds(one: Outcome) -> float:
    return one.score_seconds


def _score(one: Outcome, metric: str) -> float:
    if one.test_scores is None:
        return math.nan
    scores = from_wire(one.test_scores)
    number = scores.get(metric, math.nan) if isinstance(scores, dict) else scores
    return float(np.real(as_float(number)))


def _add_statistics(
    results: dict[str, list[Any]], name: str, rows: Sequence[Mapping[int, float]]
) -> None:
    arrays = [np.array(list(row.values()), dtype=float) for row in rows]
    with np.errstate(all="ignore"):  # scores may be infinite
        _add_moments(results, name, arrays)


def _add_moments(results: dict[str, list[Any]], name: str, arrays: Sequence[Any]) -> None:
    results[f"mean_{name}"] = [float(np.average(one)) if one.size else math.nan for one in arrays]
    results[f"std_{name}"] = [float(np.std(one)) if one.size else math.nan for one in arrays]


def partial_summary(
    facts: RunFacts, search: str = "", splits: int = 0, metric: str | None = None
) -> Summary:
    """Make the summary of a search without ``cv_results_``.

    Parameters
    ----------
    facts : RunFacts
    search : str, optional
        Class of the search; empty if it is not known.
    splits : int, default=0
        Number of splits, if it is known.
    metric : str, optional
        Scorer that ranks the candidates. Default: the first.

    Returns
    -------
    summary : Summary
        The best candidates are those with an outcome for every split, in the last round.
    """
    results = partial_results(facts.candidates, facts.outcomes, splits)
    n_splits = sum(re.fullmatch(r"split\d+_test_.*", name) is not None for name in results)
    metrics = metrics_of(facts.outcomes)
    ranked = metric if metric in metrics else metrics[0]
    n_splits //= len(metrics)
    top = _top(results, ranked, n_splits)
    best = top[0] if top else None
    return Summary(
        search=search,
        metric=ranked,
        metrics=metrics,
        candidates=len(results["params"]),
        splits=n_splits,
        best_index=None if best is None else best.index,
        best_params=None if best is None else best.params,
        best_score=None if best is None else best.mean,
        best_std=None if best is None else best.std,
        refitted=False,
        refit_seconds=None,
        holdout_score=None,
        top=top,
        **fields_of(facts),
    )


def recorded_seconds(record: RunRecord, outcomes: Sequence[Outcome], now: float) -> float:
    """Return the time from the start of a run to its end.

    A run that still runs lasts until now. A killed run has no end on record; its last recorded
    fit stands for it.

    Parameters
    ----------
    record : RunRecord
    outcomes : sequence of Outcome
    now : float
        Seconds since the epoch.

    Returns
    -------
    seconds : float
    """
    ended = record.ended_at
    if ended is None and record.seen_state() == "running":
        ended = now
    if ended is None:
        ended = max((one.finished_at for one in outcomes), default=record.started_at)
    return max(0.0, ended - record.started_at)


def _top(
    results: Mapping[str, Sequence[Any]], metric: str, splits: int
) -> tuple[CandidateRow, ...]:
    means, iterations = results[f"mean_test_{metric}"], results.get("iter")
    last = max(iterations, default=0) if iterations else 0
    rows = [
        row
        for row, mean in enumerate(means)
        if not math.isnan(mean)
        and results["splits_scored"][row] == splits
        and (not iterations or iterations[row] == last)
    ]
    rows.sort(key=lambda row: -means[row])
    ranked = sorted(-means[row] for row in rows)
    return tuple(
        CandidateRow(
            index=row,
            rank=1 + ranked.index(-means[row]),
            mean=plain_score(means[row]),
            std=plain_score(results[f"std_test_{metric}"][row]),
            mean_fit_seconds=plain_score(results["mean_fit_time"][row]),
            params=plain_parameters(results["params"][row]),
        )
        for row in rows[:TOP_CANDIDATES]
    )
