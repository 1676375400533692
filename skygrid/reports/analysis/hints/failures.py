"""Hint: fits fail with some values of a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from skygrid.reports.analysis.columns import Column, make_columns
from skygrid.reports.analysis.records import Advice, Bools, CandidateTable, Family
from skygrid.reports.analysis.texts import listed, value_text

from .proposals import grid_line

MOSTLY = 0.5
"""Smallest part of the fits with a value that has to fail, if no pair of values explains it."""

HARDLY = 0.05
"""Largest part of the other fits that may fail."""

ALL = 0.95
"""Part of the fits with a value, or a pair of values, above which all of them fail."""

MIN_FAILED = 3
"""Minimum number of failed fits."""

MAX_GROUPS = 2
"""Maximum number of groups of pairs in a hint; more of them are no pattern. One, if each pair has a
single candidate."""

Cells = NDArray[np.intp]


def failure_hints(table: CandidateTable, families: Sequence[Family]) -> list[Advice]:
    """Return a hint for each family in which values of one parameter, or of two, make fits fail."""
    failed = np.isnan(table.scores) if table.failed is None else table.failed
    found: list[Advice] = []
    rates = [failed[list(family.rows)] for family in families]
    for family, own in zip(families, rates, strict=True):
        if own.sum() < MIN_FAILED:
            continue
        if own.mean() >= ALL:
            found += _whole_family(family, own, len(families))
            continue
        columns = make_columns(table, family.rows)
        hint = (
            _one_parameter(columns, own, ALL)
            or _two_parameters(columns, own)
            or _one_parameter(columns, own, MOSTLY)
        )
        found += [hint] if hint else []
    return found


def _whole_family(family: Family, failed: Bools, families: int) -> list[Advice]:
    """Return a hint if other families fare better; else the search failed as a whole."""
    if families < 2:
        return []
    text = (
        f"{_all_or_most(failed)} with {family.label} failed. See the failures for the reason, or"
        " leave this part of the grid out."
    )
    return [Advice(kind="failures", text=text)]


def _one_parameter(columns: Sequence[Column], failed: Bools, part: float) -> Advice | None:
    for column in columns:
        rates = _rates(column.codes, len(column.values), failed)
        bad = rates >= part
        inside = bad[column.codes]
        if not bad.any() or bad.all() or failed[~inside].mean() > HARDLY:
            continue
        names = [value_text(value) for value in _where(column, bad)]
        text = (
            f"{_all_or_most(failed[inside])} with {column.name}={listed(names, 'or')} failed,"
            f" and {_few(failed[~inside])} of the others. See the failures for the reason, or leave"
            f" {'the value' if len(names) == 1 else 'the values'} out."
        )
        line = grid_line(column.name, _where(column, ~bad))
        return Advice(kind="failures", parameter=column.name, text=text, line=line)
    return None


def _two_parameters(columns: Sequence[Column], failed: Bools) -> Advice | None:
    """Return the hint of the two parameters that explain the failures in the fewest words."""
    found: list[tuple[tuple[int, int], Advice]] = []
    for one, other in permutations([c for c in columns if len(c.values) > 1], 2):
        cells = one.codes * len(other.values) + other.codes
        bad = _rates(cells, len(one.values) * len(other.values), failed) >= ALL
        inside = bad[cells]
        if not bad.any() or failed[inside].sum() < MIN_FAILED or failed[~inside].mean() > HARDLY:
            continue
        groups = _groups(bad.reshape(len(one.values), -1))
        if len(groups) > (MAX_GROUPS if inside.sum() > bad.sum() else 1):
            continue
        words = sum(len(codes) + len(partners) for codes, partners in groups)
        pairs = [_pair_text(one, other, codes, partners) for codes, partners in groups]
        text = (
            f"{_all_or_most(failed[inside])} with {', or with '.join(pairs)} failed, and"
            f" {_few(failed[~inside])} of the others. Give values that go together a grid of their"
            " own: param_grid may be a list of dicts."
        )
        hint = Advice(kind="failures", parameter=one.name, text=text)
        found.append(((len(groups), words), hint))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _groups(bad: Bools) -> list[tuple[list[int], list[int]]]:
    """Return codes of rows that are bad in the same columns, with these; no columns mean all."""
    rows: dict[tuple[bool, ...], list[int]] = {}
    for code, row in enumerate(bad):
        if row.any():
            rows.setdefault(tuple(row), []).append(code)
    return [
        (codes, [] if all(row) else np.flatnonzero(row).tolist()) for row, codes in rows.items()
    ]


def _pair_text(one: Column, other: Column, codes: list[int], partners: list[int]) -> str:
    return _or(one, codes) + (f" and {_or(other, partners)}" if partners else "")


def _or(column: Column, codes: Sequence[int]) -> str:
    return f"{column.name}={listed([value_text(column.values[code]) for code in codes], 'or')}"


def _rates(codes: Cells, count: int, failed: Bools) -> NDArray[np.float64]:
    """Return the part of failed fits for each code; 0 for a code without candidates."""
    sums = np.bincount(codes, weights=failed.mean(axis=1), minlength=count)
    return np.asarray(sums / np.maximum(np.bincount(codes, minlength=count), 1))


def _where(column: Column, mask: Bools) -> list[object]:
    return [value for value, chosen in zip(column.values, mask, strict=True) if chosen]


def _all_or_most(failed: Bools) -> str:
    count = int(failed.sum())
    return f"All {failed.size} fits" if count == failed.size else f"{count} of {failed.size} fits"


def _few(failed: Bools) -> str:
    count = int(failed.sum())
    return f"{count or 'none'}"
