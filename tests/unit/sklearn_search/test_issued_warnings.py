"""Warnings of fits are issued without changing the filters of other threads."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from skygrid.sklearn_search.warnings import WarningCounter
from skygrid.worker.wire.messages.results import FitResult, WarningNote


def counter(*texts: str, filename: str = "fit.py", lineno: int = 7) -> WarningCounter:
    """Return the counter of fits that warned with these texts."""
    notes = tuple(WarningNote("builtins:RuntimeWarning", text, filename, lineno) for text in texts)
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
def test_each_warning_is_issued_once_with_any_filter(action: str) -> None:
    """Filters act in the fit and are not applied again on the driver."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter(action)  # type: ignore[arg-type]
        counter("a", "b", "a").issue()
    assert [(note.category, str(note.message), note.filename, note.lineno) for note in said] == [
        (RuntimeWarning, text, "fit.py", 7) for text in ("a", "b")
    ]


def test_issuing_keeps_the_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The filters of the process do not change while warnings are issued."""
    before, seen = list(warnings.filters), []

    def show(*_: Any) -> None:
        seen.append(list(warnings.filters))

    monkeypatch.setattr(warnings, "showwarning", show)
    counter("a").issue()
    assert seen == [before]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets what Python would print for each warning."""
    texts: list[str] = []

    def show(*parts: Any) -> None:
        message, category, filename, lineno, _, line = parts
        texts.append(warnings.formatwarning(message, category, filename, lineno, line))

    monkeypatch.setattr(warnings, "showwarning", show)
    return texts


@pytest.mark.parametrize("lineno", [-(2**31), 0, 1, 2**31 - 1])
@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "\0", "", "<string>"])
def test_a_warning_opens_no_file_that_it_names(
    tmp_path: Path, shown: list[str], name: str, lineno: int
) -> None:
    """The file name of a warning comes from a node: a device or a pipe is shown, not read."""
    if name == "pipe":
        name = str(tmp_path / name)
        os.mkfifo(name)
    counter("hm", filename=name, lineno=lineno).issue()
    assert shown == [f"{name}:{lineno}: RuntimeWarning: hm\n"]


def test_a_warning_shows_its_line_of_a_loaded_module(shown: list[str]) -> None:
    """The source line of a library or of the user's own module is shown as Python shows it."""
    counter("hm", filename=warnings.__file__, lineno=1).issue()
    assert '"""Python part of the warnings subsystem."""' in shown[0]
