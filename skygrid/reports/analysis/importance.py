"""Importance: the part of the scores' variance that each parameter explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skygrid.reports.plain_values import count_text

from .columns import Column, make_columns
from .comparable import comparable
from .exact_anova import Pairs, decompose
from .families import first_rows, split_families
from .forest_anova import MAX_ROWS, decompose_forest
from .grids import CompleteGrid, complete_grid
from .means import mean_scores, rungs
from .records import CandidateTable, Family, Floats, Importance, MainEffect, PairEffect
from .texts import percent_text

MIN_CANDIDATES = 10
"""Minimum number of candidates to which a forest is fitted."""

POOR_FIT = 0.3
"""Out-of-bag R² of a forest below which its result is called unsure."""


def importances(table: CandidateTable) -> tuple[Importance, ...]:
    """Return the importance of the parameters in each family.

    Exact functional ANOVA if each combination of values has a score, else that of a random forest.
    Candidates without a score are left out. In a halving search: in the family's first iteration.
    """
    table = comparable(table)
    return tuple(_importance(table, family) for family in split_families(table))


def _importance(table: CandidateTable, family: Family) -> Importance:
    rows = first_rows(table, family)
    means = mean_scores(table)[rows]
    scored = np.flatnonzero(np.isfinite(means))
    base = Importance(
        family=family.index,
        method=None,
        note="",
        candidates=len(scored),
        without_score=len(rows) - len(scored),
    )
    columns = _varying(table, rows[scored])
    reason = _no_result(columns, means[scored])
    if reason:
        return replace(base, note=reason)
    where = _where(table, base.without_score)
    grid = complete_grid(columns)
    if grid is not None:
        return _exact(base, grid, means[scored], where)
    if len(scored) < MIN_CANDIDATES:
        return replace(
            base,
            note=f"{count_text(len(scored), 'candidate')} with a score are too few to estimate the"
            " importance of parameters outside a complete grid.",
        )
    return _forest(base, columns, means[scored], where)


def _varying(table: CandidateTable, rows: NDArray[np.intp]) -> tuple[Column, ...]:
    return tuple(column for column in make_columns(table, rows.tolist()) if len(column.values) > 1)


def _no_result(columns: tuple[Column, ...], means: Floats) -> str:
    if len(means) < 2:
        return "There are fewer than two candidates with a score."
    if not columns:
        return "No parameter varies."
    if np.ptp(means) <= 8 * np.finfo(np.float64).eps * np.abs(means).max():
        return "The mean score does not vary."
    return ""


def _where(table: CandidateTable, without_score: int) -> str:
    parts = []
    if len(np.unique(rungs(table))) > 1:
        parts.append("in the first iteration")
    if without_score:
        parts.append(f"without {count_text(without_score, 'candidate')} that lack a score")
    return "".join(f", {part}" for part in parts)


def _exact(base: Importance, grid: CompleteGrid, means: Floats, where: str) -> Importance:
    values = means[grid.places]
    main, pairs = decompose(values)
    note = f"Exact functional ANOVA of the complete grid of {values.size} candidates{where}."
    alone, together = _effects(grid.columns, main, pairs)
    return replace(
        base, method="exact", note=note, main=alone, pairs=together, candidates=values.size
    )


def _forest(base: Importance, columns: tuple[Column, ...], means: Floats, where: str) -> Importance:
    result = decompose_forest(columns, means)
    sampled = base.candidates if base.candidates > MAX_ROWS else None
    drawn = f", drawn from {sampled}" if sampled else ""
    note = (
        "Functional ANOVA of a random forest (Hutter, Hoos and Leyton-Brown 2014), fitted to"
        f" {result.rows} candidates{drawn}{where}."
    )
    if result.explained < POOR_FIT:
        fit = percent_text(max(0.0, result.explained))
        note += f" It explains only {fit} of the variance, so the result is unsure."
    alone, together = _effects(columns, result.main, result.pairs)
    return replace(
        base,
        method="forest",
        note=note,
        main=alone,
        pairs=together,
        candidates=result.rows,
        sampled_from=sampled,
        explained=result.explained,
    )


def _effects(
    columns: tuple[Column, ...], main: list[float], pairs: Pairs
) -> tuple[tuple[MainEffect, ...], tuple[PairEffect, ...]]:
    names = [column.name for column in columns]
    alone = [
        MainEffect(name=name, fraction=fraction) for name, fraction in zip(names, main, strict=True)
    ]
    together = [
        PairEffect(first=names[one], second=names[other], fraction=fraction)
        for (one, other), fraction in pairs.items()
    ]
    return (
        tuple(sorted(alone, key=lambda effect: -effect.fraction)),
        tuple(sorted(together, key=lambda effect: -effect.fraction)),
    )
