"""Failed fits by their error and warnings by their text, with the parameters in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skygrid.plan.records import Outcome
from skygrid.reports.failures import error_of
from skygrid.reports.html.records import FailureGroup, WarningGroup
from skygrid.reports.html.values import value_key

MOST_GROUPS = 50
"""Maximum number of errors, and of warnings, in a page."""

MOST_TRACEBACK = 20_000
"""Maximum number of characters of a traceback; the end is kept, because it has the error."""

Params = Sequence[Mapping[str, Any]]


def failure_groups(
    outcomes: Sequence[Outcome], params: Params, offsets: Mapping[int, int]
) -> tuple[FailureGroup, ...]:
    """Group failed fits by the last line of their error, the most frequent first.

    Parameters
    ----------
    outcomes : sequence of Outcome
    params : sequence of mapping
        Parameters of all candidates.
    offsets : mapping of int to int
        Round -> index of its first candidate.
    """
    groups: dict[tuple[str, bool], list[Outcome]] = {}
    for one in outcomes:
        if one.fit_error is not None:
            killed = one.status == "killed"
            groups.setdefault((_kind(one.fit_error, killed=killed), killed), []).append(one)
    ordered = sorted(groups.values(), key=lambda fits: -len(fits))[:MOST_GROUPS]
    return tuple(
        FailureGroup(
            error=last_line(fits[0].fit_error or ""),
            count=len(fits),
            candidates=(rows := _rows(fits, offsets)),
            splits=tuple(sorted({one.split for one in fits})),
            common=common_parameters(rows, params),
            traceback=_shortened(fits[0].fit_error or ""),
            killed=fits[0].status == "killed",
        )
        for fits in ordered
    )


def warning_groups(
    outcomes: Sequence[Outcome], params: Params, offsets: Mapping[int, int]
) -> tuple[WarningGroup, ...]:
    """Group warnings by class and text, the most frequent first; arguments as above."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for one in outcomes:
        for note in one.warnings:
            kind = note.category.rpartition(":")[2]
            groups.setdefault((kind, note.message), []).append(one)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))[:MOST_GROUPS]
    return tuple(
        WarningGroup(
            category=category,
            message=message,
            count=len(fits),
            candidates=(rows := _rows(fits, offsets)),
            splits=tuple(sorted({one.split for one in fits})),
            common=common_parameters(rows, params),
        )
        for (category, message), fits in ordered
    )


def last_line(traceback: str) -> str:
    """Return the class and the first line of the text of the exception that ends a traceback."""
    lines = [line for line in error_of(traceback).splitlines() if line.strip()]
    return lines[0].strip() if lines else "unknown error"


def _kind(traceback: str, *, killed: bool) -> str:
    """Return the error without addresses; of killed fits also without measured numbers."""
    return re.sub(r"0x[0-9a-f]+" if not killed else r"\d+(\.\d+)?", "#", last_line(traceback))


def common_parameters(rows: Iterable[int], params: Params) -> dict[str, Any]:
    """Return the values that all these candidates share, and not all other candidates."""
    chosen = set(rows)
    if not chosen or max(chosen) >= len(params):
        return {}
    first, *others = (params[row] for row in sorted(chosen))
    shared = {
        name: value
        for name, value in first.items()
        if all(name in one and value_key(one[name]) == value_key(value) for one in others)
    }
    rest = [one for row, one in enumerate(params) if row not in chosen]
    return {
        name: value
        for name, value in shared.items()
        if not rest or any(value_key(one.get(name)) != value_key(value) for one in rest)
    }


def _rows(fits: Sequence[Outcome], offsets: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(sorted({offsets.get(one.round, 0) + one.candidate for one in fits}))


def _shortened(traceback: str) -> str:
    if len(traceback) <= MOST_TRACEBACK:
        return traceback
    return "…\n" + traceback[-MOST_TRACEBACK:]
