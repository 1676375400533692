"""Candidates in order, with the columns that a table of them shows."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skygrid.errors import UsageError

from .plain_values import parameter_text, plain_parameters, varied_parameters
from .summary import Summary

OTHER_METRICS = 3
"""Maximum number of columns for metrics that do not rank the candidates."""

Results = Mapping[str, Sequence[Any]]
"""``cv_results`` as in `result.json`: one list of length n_candidates per key."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate."""

    index: int
    """Row in ``cv_results_``."""

    rank: int | None
    """None without a score, and in a search that has not ended."""

    mean: float | None
    std: float | None
    others: tuple[float | None, ...]
    """Values of `Ranking.others`."""

    fit_seconds: float | None
    params: Mapping[str, Any]
    iteration: int | None = None
    """Iteration of a halving search; None in other searches."""

    resources: int | None = None
    splits_scored: int | None = None
    """Splits with an outcome, in a search that has not ended."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Candidates in order."""

    metric: str
    others: tuple[str, ...]
    """Headings of the other scores: metrics, and ``train`` for the train score of `metric`."""

    varied: tuple[str, ...]
    """Parameters that have more than one value in the whole search."""

    rows: tuple[Row, ...]
    left_out: int = 0
    """Candidates after the last row."""

    unscored: int = 0
    """Candidates without a score that have no row."""

    splits: int = 0

    def params(self, row: Row) -> Mapping[str, Any]:
        """Return the parameters of a candidate that vary; all if none does."""
        return {
            name: value
            for name, value in row.params.items()
            if name in self.varied or not self.varied
        }


def ranking(
    summary: Summary,
    results: Results,
    *,
    top: int | None = None,
    sort: str | None = None,
    params: Sequence[str] = (),
) -> Ranking:
    """Return the candidates of a search in order, the best first.

    Parameters
    ----------
    summary : Summary
    results : mapping of str to sequence
        Empty: the rows of ``summary.top`` alone are known.
    top : int, optional
        Maximum number of rows. Default: all. Rows without a score come last, and only if `top` is
        None.
    sort : str, optional
        Metric, parameter or column of ``cv_results_``, or one of ``rank``, ``fit`` and ``train``.
        Default: the order of the ranks, in a halving search the last iteration first.
    params : sequence of str
        Patterns ``NAME=VALUE`` with wildcards, all of which a candidate has to match.

    Raises
    ------
    UsageError
        If `sort` or a pattern names nothing that the search has.
    """
    results = _sound(results)
    if not results:
        return _known_rows(summary, top)
    all_params = results["params"]
    varied = varied_parameters(all_params)
    others = _others(summary, results)
    rows = [_row(results, summary.metric, others, number) for number in range(len(all_params))]
    rows = [row for row in rows if _matches(row.params, params, all_params)]
    if sort is None:
        rows.sort(key=lambda row: _standing(row, summary.best_index))
    else:
        values = _values(sort, summary, results)
        rows.sort(key=lambda row: _comparable(values[row.index]))
    if top is not None and sort is None:
        rows = _latest(rows)
    scored = [row for row in rows if row.mean is not None or row.index == summary.best_index]
    kept = rows if top is None or sort is not None else scored
    shown = kept[:top]
    return Ranking(
        metric=summary.metric,
        others=tuple(name for name, _ in others),
        varied=varied,
        rows=tuple(shown),
        left_out=len(kept) - len(shown),
        unscored=len(rows) - len(kept),
        splits=summary.splits,
    )


def rungs(results: Results) -> list[tuple[int, int | None]]:
    """Return (candidates, resources) of each iteration of a halving search; empty for others."""
    results = _sound(results)
    iterations = [_number(one) or 0 for one in results.get("iter", ())]
    resources = results.get("n_resources")
    return [
        (len(rows), None if resources is None else int(_number(resources[rows[0]]) or 0))
        for number in sorted(set(iterations))
        if (rows := [row for row, one in enumerate(iterations) if one == number])
    ]


def _sound(results: Results) -> Results:
    """Return the columns that have a value for each candidate; a damaged file may have others."""
    params = results.get("params", ())
    if not params or not all(isinstance(one, Mapping) for one in params):
        return {}
    return {name: column for name, column in results.items() if len(column) == len(params)}


def _known_rows(summary: Summary, top: int | None) -> Ranking:
    rows = tuple(
        Row(
            index=one.index,
            rank=one.rank,
            mean=one.mean,
            std=one.std,
            others=(),
            fit_seconds=one.mean_fit_seconds,
            params=one.params,
        )
        for one in summary.top[:top]
    )
    varied = varied_parameters([row.params for row in rows])
    return Ranking(metric=summary.metric, others=(), varied=varied, rows=rows)


def _others(summary: Summary, results: Results) -> list[tuple[str, str]]:
    """Return heading and key of the other scores."""
    metrics = [name for name in summary.metrics if name != summary.metric][:OTHER_METRICS]
    found = [(name, f"mean_test_{name}") for name in metrics]
    train = f"mean_train_{summary.metric}"
    return [*([("train", train)] if train in results else []), *found]


def _row(results: Results, metric: str, others: Sequence[tuple[str, str]], number: int) -> Row:
    def value(key: str) -> float | None:
        column = results.get(key)
        return None if column is None else _number(column[number])

    rank, iteration = value(f"rank_test_{metric}"), value("iter")
    resources, splits = value("n_resources"), value("splits_scored")
    mean = value(f"mean_test_{metric}")
    return Row(
        index=number,
        rank=None if rank is None or mean is None else int(rank),
        mean=mean,
        std=value(f"std_test_{metric}"),
        others=tuple(value(key) for _, key in others),
        fit_seconds=value("mean_fit_time"),
        params=results["params"][number],
        iteration=None if iteration is None else int(iteration),
        resources=None if resources is None else int(resources),
        splits_scored=None if splits is None else int(splits),
    )


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else None


def _standing(row: Row, best: int | None) -> tuple[Any, ...]:
    mean = -math.inf if row.mean is None else row.mean
    rank = math.inf if row.rank is None else row.rank
    splits = row.splits_scored or 0
    return (row.index != best, row.mean is None, -(row.iteration or 0), rank, -splits, -mean)


def _latest(rows: Sequence[Row]) -> list[Row]:
    """Leave out earlier iterations of a candidate that a halving search kept."""
    if not any(row.iteration for row in rows):
        return list(rows)
    seen: set[str] = set()
    latest = []
    for row in rows:
        key = repr(plain_parameters(row.params))
        if key not in seen:
            seen.add(key)
            latest.append(row)
    return latest


def _values(sort: str, summary: Summary, results: Results) -> Sequence[Any]:
    """Return the column by which rows are sorted, smallest first; scores are negated."""
    ranked = f"mean_test_{summary.metric}"
    metric = {"score": ranked, summary.metric: ranked, "train": f"mean_train_{summary.metric}"}
    key = metric.get(sort, f"mean_test_{sort}")
    if key in results:
        return [None if (one := _number(value)) is None else -one for value in results[key]]
    times = {"fit": "mean_fit_time", "time": "mean_fit_time", "rank": f"rank_test_{summary.metric}"}
    for name in (times.get(sort, sort), f"param_{sort}"):
        if name in results and name != "params":
            return results[name]
    names = ["score", "rank", "fit", *summary.metrics, *_parameter_names(results["params"])]
    raise UsageError(
        f"there is nothing called {sort} to sort by; there are: "
        f"{', '.join(dict.fromkeys(names))}, and the columns of cv_results.csv"
    )


def _comparable(value: Any) -> tuple[int, float, str]:
    """Return a key that puts numbers first, then text, then missing values."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 2, 0.0, ""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, parameter_text(value, 200)


def _parameter_names(candidates: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for one in candidates for name in one))


def _matches(
    own: Mapping[str, Any], patterns: Sequence[str], candidates: Sequence[Mapping[str, Any]]
) -> bool:
    return all(_matches_one(own, pattern, candidates) for pattern in patterns)


def _matches_one(
    own: Mapping[str, Any], pattern: str, candidates: Sequence[Mapping[str, Any]]
) -> bool:
    name, equals, value = pattern.partition("=")
    if not equals:
        raise UsageError(f"--params {pattern}: write NAME=VALUE, such as --params 'C=1*'")
    if name in own:
        return fnmatch.fnmatchcase(parameter_text(own[name], 400), value)
    names = _parameter_names(candidates)
    if name not in names:
        raise UsageError(f"there is no parameter {name}; there are: {', '.join(names)}")
    return False
