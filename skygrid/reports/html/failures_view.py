"""Failures and warnings, as texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skygrid.reports.html.records import FailureGroup, Report, WarningGroup
from skygrid.reports.html.texts import (
    View,
    count_text,
)
from skygrid.reports.html.values import value_text

MOST_ROWS = 2000
"""Maximum number of candidates that a group of failures names to the table."""


def failures_text(report: Report) -> str:
    """Return a sentence with the numbers of failures and warnings."""
    bad = report.failed + report.killed
    parts = []
    if bad:
        parts.append(f"{bad:,} of {report.fits:,} fits failed.")
    if report.retries:
        parts.append(f"{count_text(report.retries, 'attempt')} took a slot down.")
    if report.warnings:
        parts.append(f"{count_text(len(report.warnings), 'kind')} of warning.")
    return " ".join(parts) or "No fit failed, and none raised a warning."


def failure_view(one: FailureGroup, report: Report) -> View:
    """Return one group of failures."""
    return {
        "count": f"{one.count:,}",
        "error": one.error,
        "where": _where(one.candidates, one.splits, report),
        "common": _parameters(one.common, one.candidates[0], report),
        "rows": ",".join(map(str, one.candidates[:MOST_ROWS])) if report.candidates.scores else "",
        "traceback": one.traceback,
    }


def warning_view(one: WarningGroup, report: Report) -> View:
    """Return one group of warnings."""
    return {
        "count": f"{one.count:,}",
        "category": one.category,
        "message": one.message,
        "where": _where(one.candidates, one.splits, report),
        "common": _parameters(one.common, one.candidates[0], report),
        "rows": ",".join(map(str, one.candidates[:MOST_ROWS])) if report.candidates.scores else "",
    }


def _where(candidates: Sequence[int], splits: Sequence[int], report: Report) -> str:
    every = len(splits) == report.splits
    on = (
        "on all splits"
        if every
        else f"on split{'s' * (len(splits) > 1)} {', '.join(map(str, splits))}"
    )
    row, params = candidates[0], report.candidates.params
    first = f"; the first: {_parameters(params[row], row, report)}" if row < len(params) else ""
    return f"{count_text(len(candidates), 'candidate')}, {on}{first}"


def _parameters(params: Mapping[str, Any], row: int, report: Report) -> str:
    """Return parameters of a candidate in one line."""
    every = report.candidates.texts
    texts = every[row] if row < len(every) else {}
    return ", ".join(
        f"{name}={value_text(value, texts.get(name))}" for name, value in params.items()
    )
