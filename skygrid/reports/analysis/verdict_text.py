"""The verdict as plain sentences."""

from __future__ import annotations

from dataclasses import replace

from skygrid.reports.plain_values import count_text

from .means import mean_fit_seconds, mean_scores
from .records import CandidateTable, Verdict
from .texts import gain_text, score_text, seconds_text, settings_text

FEW_SPLITS = 5
"""Number of splits below which the test has little power."""

WORTHWHILE = 0.8
"""Largest ratio of the cheapest candidate's fit time to the best one's that is worth a sentence."""


def verdict_sentences(table: CandidateTable, verdict: Verdict, every: int) -> Verdict:
    """Return the verdict with its sentences.

    Parameters
    ----------
    table : CandidateTable
    verdict : Verdict
    every : int
        Number of splits of the search, of which the table may have a part.
    """
    sentences = (
        _best(table, verdict, every),
        _gains(verdict, _peers(table)),
        _certainty(verdict, _peers(table)),
        _cheapest(table, verdict),
        _simplest(table, verdict),
    )
    return replace(verdict, sentences=tuple(text for text in sentences if text))


def _peers(table: CandidateTable) -> str:
    """Return the addition to "candidates" that names those compared."""
    return " of the last iteration" if len(set(table.rung)) > 1 else ""


def _best(table: CandidateTable, verdict: Verdict, every: int) -> str:
    if verdict.mean is None or verdict.std is None:
        return ""
    if every > table.scores.shape[1]:
        count = f"{verdict.splits} of {every} splits"
        return f"So far the best {table.metric} is {score_text(verdict.mean)}, on {count}."
    if verdict.splits == 1:
        return f"The best {table.metric} is {score_text(verdict.mean)}, on one split."
    if verdict.better is not None:
        return (
            f"The search chose a candidate whose mean {table.metric} is "
            f"{score_text(verdict.mean)}, with a standard deviation of {gain_text(verdict.std)} "
            f"over {verdict.splits} splits; the best mean is {score_text(verdict.better)}."
        )
    return (
        f"The best mean {table.metric} is {score_text(verdict.mean)}, with a standard deviation of"
        f" {gain_text(verdict.std)} over {verdict.splits} splits."
    )


def _gains(verdict: Verdict, peers: str) -> str:
    if verdict.gain_over_median is None or verdict.scored < 2:
        return ""
    parts = [f"{_better(verdict.gain_over_median)} the median candidate{peers}"]
    if verdict.default is not None and verdict.default == verdict.best:
        return f"That is {parts[0]}. It has the estimator's default parameters."
    if verdict.gain_over_default is not None:
        parts.append(f"{_better(verdict.gain_over_default)} the estimator's default parameters")
    return f"That is {' and '.join(parts)}."


def _better(gain: float) -> str:
    if gain == 0:
        return "as good as"
    return f"{gain_text(abs(gain))} {'better' if gain > 0 else 'worse'} than"


def _certainty(verdict: Verdict, peers: str) -> str:
    comparison = verdict.comparison
    if not comparison.test:
        return "" if verdict.scored < 2 else f"No test of the difference: {comparison.reason}."
    level = f"at the {100 * comparison.significance:g} % level of the {comparison.test}"
    alike, others = len(comparison.indistinguishable), comparison.compared
    if not alike:
        who = "the other candidate" if others == 1 else f"all {others} other candidates"
        return f"The difference from {who}{peers} is significant {level}."
    if alike == others:
        many = "Both" if others == 2 else f"All {others}"
        who = "The other candidate" if others == 1 else f"{many} other candidates"
    else:
        who = f"{alike} of the {count_text(others, 'other candidate')}"
    verb = "is" if alike == 1 else "are"
    text = f"{who}{peers} {verb} statistically indistinguishable from it {level}."
    if verdict.splits < FEW_SPLITS:
        text += f" With {verdict.splits} splits the test sees large differences only."
    return text


def _cheapest(table: CandidateTable, verdict: Verdict) -> str:
    best, other = verdict.best, verdict.cheapest
    if best is None or other is None or other == best:
        return ""
    seconds, means = mean_fit_seconds(table), mean_scores(table)
    if not seconds[other] <= WORTHWHILE * seconds[best]:
        return ""
    return (
        "The cheapest of them within one standard deviation fits in"
        f" {seconds_text(float(seconds[other]))} instead of"
        f" {seconds_text(float(seconds[best]))}, with a mean of {score_text(float(means[other]))}:"
        f" {settings_text(table.params[other], table.params[best])}."
    )


def _simplest(table: CandidateTable, verdict: Verdict) -> str:
    best, other = verdict.best, verdict.simplest
    if best is None or other is None:
        return ""
    if other == verdict.cheapest and _cheapest(table, verdict):
        return "It is also the simplest of these."
    mean = score_text(float(mean_scores(table)[other]))
    own = settings_text(table.params[other], table.params[best])
    return f"The simplest of them within one standard deviation has a mean of {mean}: {own}."
