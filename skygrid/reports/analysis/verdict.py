"""The verdict: the best candidate, and how sure that is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .columns import make_columns
from .comparable import comparable
from .means import best_row, mean_fit_seconds, mean_scores, rungs
from .records import CandidateTable, Comparison, Floats, Verdict
from .resampled_t_test import NAME, size_ratio, t_statistics, two_sided_p
from .simplicity import simpler, steps_away
from .values import same_setting
from .verdict_text import verdict_sentences

SIGNIFICANCE = 0.05
"""Two-sided level of the test of each pair."""


def judge(table: CandidateTable) -> Verdict:
    """Judge the best candidate of a search.

    In a halving search the other candidates are those of its iteration, because earlier ones saw
    other splits or fewer samples.
    """
    every = table.scores.shape[1]
    table = comparable(table)
    best = best_row(table)
    if best is None:
        return _without_scores(len(table.params))
    means = mean_scores(table)
    peers = np.flatnonzero((rungs(table) == rungs(table)[best]) & np.isfinite(means))
    own = table.scores[best][np.isfinite(table.scores[best])]
    mean = float(own.mean()) if len(own) else None
    median = float(np.median(means[peers])) if len(peers) else None
    default = _default_row(table, peers)
    default_mean = None if default is None else float(means[default])
    comparison = compare(table, best, peers)
    near = _near(table, best, comparison)
    verdict = Verdict(
        best=best,
        mean=mean,
        std=float(own.std()) if len(own) else None,
        better=_better_mean(means, best, peers),
        splits=len(own),
        scored=len(peers),
        median=median,
        gain_over_median=_gain(mean, median),
        default=default,
        default_mean=default_mean,
        gain_over_default=_gain(mean, default_mean),
        comparison=comparison,
        cheapest=_cheapest(table, best, near) if comparison.test else None,
        simplest=_simplest(table, best, near),
        sentences=(),
    )
    return verdict_sentences(table, verdict, every)


def _better_mean(means: Floats, best: int, peers: NDArray[np.intp]) -> float | None:
    top = float(means[peers].max()) if len(peers) else -np.inf
    same = np.isclose(top, means[best], rtol=1e-12, atol=0.0)  # rounding of equal means
    return top if top > means[best] and not same else None


def compare(table: CandidateTable, best: int, peers: NDArray[np.intp]) -> Comparison:
    """Compare the best candidate with each of the others by the corrected resampled t-test.

    Each pair is tested by itself; the level is not divided by the number of pairs. So the set of
    indistinguishable candidates is, if anything, too small.

    Parameters
    ----------
    table : CandidateTable
    best : int
        Row of the best candidate.
    peers : ndarray of int
        Rows with a score on every split, on the splits of the best candidate.
    """
    others = peers[peers != best]
    p_values = np.full(len(table.params), np.nan)
    reason = _no_test(table, best, len(others))
    if not reason:
        p_values[others] = _p_values(table, best, others)
    means = mean_scores(table)
    alike = others[p_values[others] > SIGNIFICANCE]
    order = np.lexsort((alike, -means[alike]))
    return Comparison(
        test="" if reason else NAME,
        reason=reason,
        significance=SIGNIFICANCE,
        compared=0 if reason else len(others),
        indistinguishable=tuple(int(row) for row in alike[order]),
        p_values=p_values,
    )


def _no_test(table: CandidateTable, best: int, others: int) -> str:
    """Return the reason why a test is not possible; empty if it is."""
    if not others:
        return "no other candidate has scores to compare"
    if table.scores.shape[1] < 2:
        return "one split does not show how much scores vary"
    if not np.isfinite(table.scores[best]).all():
        return "the best candidate has no score on some splits"
    return ""


def _p_values(table: CandidateTable, best: int, others: NDArray[np.intp]) -> Floats:
    ratio = size_ratio(table)[others]
    t = t_statistics(table.scores[best], table.scores[others], ratio)
    return two_sided_p(t, table.scores.shape[1])


def _default_row(table: CandidateTable, peers: NDArray[np.intp]) -> int | None:
    """Return the row whose every parameter has the estimator's own value."""
    defaults = table.defaults
    for row in peers:
        params = table.params[row]
        if params and all(
            name in defaults and same_setting(name, value, defaults[name])
            for name, value in params.items()
        ):
            return int(row)
    return None


def _near(table: CandidateTable, best: int, comparison: Comparison) -> tuple[int, ...]:
    """Return the indistinguishable rows that are within one standard deviation of the best.

    With few splits the test alone cannot tell much worse candidates from the best one.
    """
    means = mean_scores(table)
    least = means[best] - table.scores[best].std()
    return tuple(row for row in comparison.indistinguishable if means[row] >= least)


def _cheapest(table: CandidateTable, best: int, near: tuple[int, ...]) -> int | None:
    rows = np.array([best, *near], dtype=np.intp)
    seconds = mean_fit_seconds(table)[rows]
    if not np.isfinite(seconds).any():
        return None
    return int(rows[np.nanargmin(seconds)])


def _simplest(table: CandidateTable, best: int, near: tuple[int, ...]) -> int | None:
    names = table.params[best].keys()
    rows = [best] + [row for row in near if table.params[row].keys() == names]
    if len(rows) == 1:
        return None
    columns = make_columns(table, rows)
    found = np.flatnonzero(simpler(columns, 0))
    if not len(found):
        return None
    # Rows are in the order of their means, so that the better of equally simple ones wins.
    return int(rows[found[np.argmax(steps_away(columns, 0)[found])]])


def _gain(mean: float | None, other: float | None) -> float | None:
    return None if mean is None or other is None else mean - other


def _without_scores(candidates: int) -> Verdict:
    reason = "no candidate has a score on every split"
    return Verdict(
        best=None,
        mean=None,
        std=None,
        splits=0,
        scored=0,
        median=None,
        gain_over_median=None,
        default=None,
        default_mean=None,
        gain_over_default=None,
        comparison=Comparison(
            test="",
            reason=reason,
            significance=SIGNIFICANCE,
            compared=0,
            indistinguishable=(),
            p_values=np.full(candidates, np.nan),
        ),
        cheapest=None,
        simplest=None,
        sentences=(f"There is no best candidate: {reason}.",),
    )
