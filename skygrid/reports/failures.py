"""Failed fits, grouped by their error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skygrid.plan.records import Outcome

from .plain_values import Plain, one_line, parameters_text, plain_parameters, shorten

MOST_ERRORS = 20
"""Maximum number of errors that are kept: texts with an address or a number differ in each fit."""

SHOWN = 5
"""Maximum number of errors in a text."""


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """An error of fits, its frequency, and the first fit that raised it."""

    error: str
    """Class and text of the exception."""

    count: int
    params: dict[str, Plain]
    """Parameters of the first such fit."""

    split: int
    traceback: str
    """Traceback of the first such fit."""


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
    groups: dict[str, list[Outcome]] = {}
    for outcome in sorted(failed, key=lambda one: (one.round, one.candidate, one.split)):
        groups.setdefault(error_of(outcome.fit_error or ""), []).append(outcome)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return tuple(
        FailureCount(
            error=error,
            count=len(group),
            params=plain_parameters(candidates[group[0].round][group[0].candidate]),
            split=group[0].split,
            traceback=group[0].fit_error or "",
        )
        for error, group in ordered[:MOST_ERRORS]
    )


def error_of(traceback: str) -> str:
    """Return the class and text of the exception at the end of a traceback."""
    lines = traceback.rstrip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    start = frames[-1] + 1 if frames else 0
    # Below a frame stand its source line and carets, indented further.
    while start < len(lines) - 1 and lines[start].startswith("    "):
        start += 1
    return "\n".join(lines[start:])


def failures_text(failures: Sequence[FailureCount], n_fits: int) -> str:
    """Return the reasons why all fits of a search failed, then the traceback of the first."""
    lines = [f"all {n_fits} fits failed: {failures[0].error}"]
    if len(failures) > 1:
        lines = [f"all {n_fits} fits failed:"]
        lines += [failure_line(one) for one in failures[:SHOWN]]
        rest = n_fits - sum(one.count for one in failures[:SHOWN])
        if rest:
            lines.append(f"{rest} x other errors")
    else:
        lines.append(f"The first was {_fit(failures[0])}.")
    return "\n".join([*lines, "", failures[0].traceback.rstrip()])


def failure_line(failure: FailureCount) -> str:
    """Return one line about an error: its frequency, its text, and the first fit with it."""
    return f"{failure.count} x {shorten(one_line(failure.error), 200)}, first {_fit(failure)}"


def _fit(failure: FailureCount) -> str:
    return f"split {failure.split} of {parameters_text(failure.params, 60) or 'the default'}"
