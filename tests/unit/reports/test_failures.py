"""Failed fits are grouped by the error at the end of their traceback."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from skygrid.plan.records import Outcome
from skygrid.reports.failures import MOST_ERRORS, count_failures, error_of, failures_text


def raised(error: BaseException) -> str:
    try:
        raise error
    except BaseException as caught:
        return "".join(traceback.format_exception(caught))


def outcome(candidate: int, split: int, fit_error: str | None) -> Outcome:
    return Outcome(
        round=0,
        candidate=candidate,
        split=split,
        status="scored" if fit_error is None else "failed",
        node="a",
        slot=0,
        fit_error=fit_error,
    )


CANDIDATES: dict[int, Any] = {0: [{"C": 1}, {"C": 10}]}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("Input X contains NaN."), "ValueError: Input X contains NaN."),
        (ValueError("one\n\n    two\nthree"), "ValueError: one\n\n    two\nthree"),
        (KeyError(), "KeyError"),
    ],
)
def test_the_error_is_all_that_follows_the_last_frame(error: Exception, text: str) -> None:
    """An error keeps all its lines, and loses the frames."""
    assert error_of(raised(error)) == text


def test_text_without_a_frame_is_the_error() -> None:
    """A fit that was given up has no traceback."""
    assert error_of("skygrid gave this fit up: SIGSEGV\n") == "skygrid gave this fit up: SIGSEGV"


def test_the_most_frequent_error_comes_first_with_its_first_fit() -> None:
    """Each error has its frequency, and parameters and split of the first fit that raised it."""
    rare, usual = raised(TypeError("rare")), raised(ValueError("usual"))
    errors = [(0, 0, rare), (1, 1, usual), (0, 1, usual), (1, 0, None)]
    failures = count_failures([outcome(*one) for one in errors], CANDIDATES)
    assert [(one.error, one.count, one.params, one.split) for one in failures] == [
        ("ValueError: usual", 2, {"C": 1}, 1),
        ("TypeError: rare", 1, {"C": 1}, 0),
    ]


def test_the_reason_comes_first_and_the_whole_traceback_last() -> None:
    """Why all fits failed is in the first line; the traceback below is complete."""
    trace = raised(ValueError("Input X contains NaN."))
    failures = count_failures([outcome(0, split, trace) for split in range(3)], CANDIDATES)
    lines = failures_text(failures, 3).splitlines()
    assert lines[0] == "all 3 fits failed: ValueError: Input X contains NaN."
    assert lines[1] == "The first was split 0 of C=1."
    assert lines[-1] == "ValueError: Input X contains NaN."
    assert "Traceback (most recent call last):" in lines


def test_several_reasons_are_listed() -> None:
    """Different errors have a line each, with their number."""
    errors = [raised(ValueError("a")), raised(TypeError("b")), raised(ValueError("a"))]
    fits = [outcome(0, split, one) for split, one in enumerate(errors)]
    lines = failures_text(count_failures(fits, CANDIDATES), 3).splitlines()
    assert lines[:3] == [
        "all 3 fits failed:",
        "2 x ValueError: a, first split 0 of C=1",
        "1 x TypeError: b, first split 1 of C=1",
    ]


def test_errors_that_differ_in_each_fit_stay_few() -> None:
    """Of a thousand different errors the most frequent are kept, and the others counted."""
    fits = [outcome(0, split, raised(ValueError(f"row {split}"))) for split in range(1000)]
    failures = count_failures(fits, CANDIDATES)
    assert len(failures) == MOST_ERRORS
    assert "995 x other errors" in failures_text(failures, 1000).splitlines()
