"""Failed fits, grouped by their error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skygrid.plan.records import Outcome

from .plain_values import (
    Plain,
    count_text,
    one_line,
    parameters_text,
    plain_parameters,
    shorten,
    varied_parameters,
)

MOST_ERRORS = 20
"""Maximum number of errors that are kept: texts with an address or a number differ in each fit."""

SHOWN = 5
"""Maximum number of errors in a text."""


MOST_PARAMETERS = 60
"""Maximum length of the parameters of one failed fit in a text, in characters."""


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """An error of fits, its frequency, and the fits that raised it."""

    error: str
    """Class and text of the exception."""

    count: int
    params: dict[str, Plain]
    """Parameters of the first such fit."""

    split: int
    traceback: str
    """Traceback of the first such fit."""

    candidates: int = 0
    """Number of candidates with such a fit."""

    splits: tuple[int, ...] = ()
    """Splits with such a fit, in order."""

    of_splits: int = 0
    """Number of splits of the search."""

    common: dict[str, Plain] = {}
    """Parameters that have one value in all these fits and others elsewhere in the search."""


def count_failures(
    outcomes: Sequence[Outcome], candidates: Mapping[int, Sequence[Mapping[str, Any]]]
) -> tuple[FailureCount, ...]:
    """Group failed fits by their error; return the `MOST_ERRORS` most frequent, these first.

    Parameters
    ----------
    outcomes : sequence of Outcome
    candidates : mapping of int to sequence
        Parameter settings of each round.
    """
    failed = [outcome for outcome in outcomes if outcome.fit_error is not None]
    if not failed:
        return ()
    groups: dict[str, list[Outcome]] = {}
    for outcome in sorted(failed, key=lambda one: (one.round, one.candidate, one.split)):
        groups.setdefault(_kind(error_of(outcome.fit_error or "")), []).append(outcome)
    ordered = sorted(groups.values(), key=lambda group: -len(group))
    varied = varied_parameters([one for round in candidates.values() for one in round])
    of_splits = 1 + max(outcome.split for outcome in outcomes)
    return tuple(
        _failure_count(group, candidates, varied, of_splits) for group in ordered[:MOST_ERRORS]
    )


def _failure_count(
    group: Sequence[Outcome],
    candidates: Mapping[int, Sequence[Mapping[str, Any]]],
    varied: Sequence[str],
    of_splits: int,
) -> FailureCount:
    first = group[0]
    numbers = dict.fromkeys((one.round, one.candidate) for one in group)
    settings = [candidates[round][number] for round, number in numbers]
    alike = {name for name in settings[0] if name in varied} - set(varied_parameters(settings))
    params = plain_parameters(settings[0])
    return FailureCount(
        error=error_of(first.fit_error or ""),
        count=len(group),
        params=params,
        split=first.split,
        traceback=first.fit_error or "",
        candidates=len(numbers),
        splits=tuple(sorted({one.split for one in group})),
        of_splits=of_splits,
        common={name: value for name, value in params.items() if name in alike},
    )


_CHANGING = re.compile(r"0x[0-9a-f]{6,}|peak memory \d+ MiB")
"""Parts of an error that differ from fit to fit although the error is the same."""


def _kind(error: str) -> str:
    return _CHANGING.sub("", error)


def error_of(traceback: str) -> str:
    """Return the class and text of the exception at the end of a traceback."""
    lines = traceback.rstrip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    start = frames[-1] + 1 if frames else 0
    # Below a frame stand its source line and carets, indented further.
    while start < len(lines) - 1 and lines[start].startswith("    "):
        start += 1
    return "\n".join(lines[start:])


def failures_text(
    failures: Sequence[FailureCount], n_fits: int, *, tracebacks: bool = False
) -> str:
    """Return the reasons why all fits of a search failed.

    Parameters
    ----------
    failures : sequence of FailureCount
    n_fits : int
        Number of all fits.
    tracebacks : bool, default=False
        True: add the traceback of the first error.
    """
    if len(failures) == 1:
        reason = short_error(failures[0].error)
        lines = [f"all {n_fits} fits failed: {reason}", f"The first was {_first(failures[0])}."]
    else:
        lines = [f"all {n_fits} fits failed:", *map(failure_line, failures[:SHOWN])]
        rest = n_fits - sum(one.count for one in failures[:SHOWN])
        if rest:
            lines.append(f"{rest} x other errors")
    if tracebacks:
        lines += ["", failures[0].traceback.rstrip()]
    return "\n".join(lines)


def failure_line(failure: FailureCount) -> str:
    """Return one line about an error: its whole text, its frequency, and the fits that raised it.

    As ``ValueError: no luck (9 fits: kernel=bad, 3 candidates, all 3 splits)``.
    """
    return f"{one_line(short_error(failure.error))} ({failed_fits_text(failure)})"


def failed_fits_text(failure: FailureCount) -> str:
    """Return which fits raised an error, as ``9 fits: kernel=bad, 3 candidates, split 1 of 3``."""
    fits = count_text(failure.count, "fit")
    if not failure.candidates:  # the result of an earlier version
        return f"{fits}, first {_first(failure)}"
    common = shorten(parameters_text(failure.common, 60), 2 * MOST_PARAMETERS)
    parts = [common] if failure.common else []
    if failure.candidates > 1:
        example = shorten(parameters_text(failure.params, 30), MOST_PARAMETERS)
        first = "" if failure.common else f" ({example}, ...)"
        parts.append(f"{failure.candidates} candidates{first}")
    return f"{fits}: {', '.join([*parts, splits_text(failure.splits, failure.of_splits)])}"


def splits_text(splits: Sequence[int], of: int) -> str:
    """Return splits, counted from 1: ``split 2 of 5``, ``splits 1, 3 of 5``, ``all 5 splits``."""
    if len(splits) == of:
        return "the only split" if of == 1 else f"all {of} splits"
    if len(splits) == 1:
        return f"split {splits[0] + 1} of {of}"
    shown = ", ".join(str(split + 1) for split in splits[:SHOWN])
    more = ", ..." if len(splits) > SHOWN else ""
    return f"splits {shown}{more} of {of}"


def short_error(error: str) -> str:
    """Return an error without the module of its class: ``ValueError: ...``."""
    return _MODULE.sub("", error, count=1)


_MODULE = re.compile(r"^(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_]\w*(?::|$))")


def _first(failure: FailureCount) -> str:
    split = f"split {failure.split + 1}{f' of {failure.of_splits}' if failure.of_splits else ''}"
    return f"{parameters_text(failure.params, 60) or 'the default'}, {split}"
