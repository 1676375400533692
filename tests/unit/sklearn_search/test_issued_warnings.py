"""Warnings of fits are issued on the driver without touching what other threads warn by."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from skygrid.sklearn_search.warnings import WarningCounter
from skygrid.worker.wire.messages import FitResult, WarningNote


def counter(*texts: str) -> WarningCounter:
    """What fits that warned with these texts have brought."""
    notes = tuple(WarningNote("builtins:RuntimeWarning", text, "fit.py", 7) for text in texts)
    counted = WarningCounter()
    counted.add(
        [
            FitResult(
                lease=1,
                candidate=0,
                slot=0,
                status="scored",
                test_scores=1.0,
                train_scores=None,
                n_test_samples=1,
                fit_seconds=0.0,
                score_seconds=0.0,
                warnings=notes,
            )
        ]
    )
    return counted


@pytest.mark.parametrize("action", ["ignore", "error", "once"])
def test_each_warning_is_issued_once_whatever_the_filters_say(action: str) -> None:
    """Filters had their say in the fit, and are not asked again."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter(action)  # type: ignore[arg-type]
        counter("a", "b", "a").issue()
    assert [(note.category, str(note.message), note.filename, note.lineno) for note in said] == [
        (RuntimeWarning, text, "fit.py", 7) for text in ("a", "b")
    ]


def test_the_filters_of_the_process_stay_while_warnings_are_issued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread may begin a search, or leave `catch_warnings`, at any moment."""
    before, seen = list(warnings.filters), []

    def show(*_: Any) -> None:
        seen.append(list(warnings.filters))

    monkeypatch.setattr(warnings, "showwarning", show)
    counter("a").issue()
    assert seen == [before]
