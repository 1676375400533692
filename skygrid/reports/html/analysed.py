"""The analysis of a report's candidates."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skygrid.reports.analysis.advice import advise
from skygrid.reports.analysis.cost import cost
from skygrid.reports.analysis.effects import effects
from skygrid.reports.analysis.families import split_families
from skygrid.reports.analysis.importance import importances
from skygrid.reports.analysis.records import (
    Advice,
    CandidateTable,
    Cost,
    Effect,
    Family,
    Importance,
    Verdict,
)
from skygrid.reports.analysis.verdict import judge
from skygrid.reports.html.records import PerSplit, Report

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Results of all functions of `skygrid.reports.analysis`."""

    verdict: Verdict | None = None
    advice: tuple[Advice, ...] = ()
    families: tuple[Family, ...] = ()
    effects: tuple[Effect, ...] = ()
    importances: tuple[Importance, ...] = ()
    cost: Cost | None = None
    notes: tuple[str, ...] = ()
    """Parts that failed."""


def analyse(report: Report) -> Analysis:
    """Analyse the candidates of a report. A part that fails becomes a note."""
    if not report.fits:
        return Analysis()
    table, notes = table_of(report), list[str]()

    def part(compute: Callable[[CandidateTable], T], otherwise: T) -> T:
        try:
            return compute(table)
        except Exception as error:  # the report goes without this part
            LOGGER.debug("analysis", exc_info=True)
            notes.append(f"A part of the analysis failed: {type(error).__name__}: {error}")
            return otherwise

    return Analysis(
        verdict=part(judge, None),
        advice=part(advise, ()),
        families=part(split_families, ()),
        effects=part(effects, ()),
        importances=part(importances, ()),
        cost=part(cost, None),
        notes=tuple(notes),
    )


def table_of(report: Report) -> CandidateTable:
    """Return the table that the analysis works on."""
    candidates = report.candidates
    halving = len(set(candidates.rounds)) > 1
    scores = _floats(candidates.scores.get(report.metric, ()), len(candidates), report.splits)
    train = candidates.train_scores.get(report.metric)
    shape = scores.shape
    seconds = _floats(candidates.fit_seconds, *shape)
    sizes = np.array(candidates.n_train, dtype=float)
    n_train = np.array(report.n_train, dtype=float) if any(report.n_train) else None
    return CandidateTable(
        params=candidates.params,
        scores=scores,
        fit_seconds=seconds,
        best_index=None if report.partial else report.best,
        metric=report.display_metric,
        rung=candidates.rounds if halving else (),
        train_scores=None if train is None else _floats(train, *shape),
        failed=np.isfinite(seconds) & ~np.isfinite(scores),
        derived=np.repeat(np.array(candidates.derived, dtype=bool)[:, None], shape[1], axis=1),
        # In a halving search each iteration has its own number of samples.
        n_train=np.repeat(sizes[:, None], shape[1], axis=1) if halving else n_train,
        n_test=None if halving or not any(report.n_test) else np.array(report.n_test, dtype=float),
        defaults=report.record.search.defaults,
    )


def _floats(table: PerSplit, n_rows: int, n_splits: int) -> NDArray[np.float64]:
    if not table:
        return np.full((n_rows, n_splits), np.nan)
    return np.array(table, dtype=np.float64).reshape(n_rows, -1)
