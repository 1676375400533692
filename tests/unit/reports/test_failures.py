"""Failed fits are grouped by the error at the end of their traceback."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from skygrid.plan.records import Outcome
from skygrid.reports.failures import (
    MOST_ERRORS,
    count_failures,
    error_of,
    failure_line,
    failures_text,
)


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


def test_the_reason_comes_first_and_the_traceback_where_it_is_asked_for() -> None:
    """Why all fits failed is in the first line; the traceback comes last, with -v."""
    trace = raised(ValueError("Input X contains NaN."))
    failures = count_failures([outcome(0, split, trace) for split in range(3)], CANDIDATES)
    lines = failures_text(failures, 3).splitlines()
    assert lines == [
        "all 3 fits failed: ValueError: Input X contains NaN.",
        "The first was C=1, split 1 of 3.",
    ]
    lines = failures_text(failures, 3, tracebacks=True).splitlines()
    assert lines[-1] == "ValueError: Input X contains NaN."
    assert "Traceback (most recent call last):" in lines


def test_several_reasons_are_listed() -> None:
    """Different errors have a line each, the error first, with its fits."""
    errors = [raised(ValueError("a")), raised(TypeError("b")), raised(ValueError("a"))]
    fits = [outcome(0, split, one) for split, one in enumerate(errors)]
    lines = failures_text(count_failures(fits, CANDIDATES), 3).splitlines()
    assert lines == [
        "all 3 fits failed:",
        "ValueError: a (2 fits: C=1, splits 1, 3 of 3)",
        "TypeError: b (1 fit: C=1, split 2 of 3)",
    ]


def test_parameters_that_all_failed_fits_share_are_named() -> None:
    """The value that the failing candidates have in common is named, and not what never varies."""
    grid = [{"C": c, "kernel": k, "gamma": 1} for c in (1, 10) for k in ("rbf", "bad")]
    trace = raised(ValueError("no kernel"))
    fits = [
        outcome(candidate, split, trace if one["kernel"] == "bad" else None)
        for candidate, one in enumerate(grid)
        for split in range(3)
    ]
    (failure,) = count_failures(fits, {0: grid})
    assert (failure.common, failure.candidates, failure.splits) == ({"kernel": "bad"}, 2, (0, 1, 2))
    assert failure_line(failure) == (
        "ValueError: no kernel (6 fits: kernel=bad, 2 candidates, all 3 splits)"
    )


def test_errors_that_differ_in_an_address_or_a_size_are_one() -> None:
    """Memory sizes and addresses, which differ in each fit, do not divide a group."""
    texts = [f"gave up: killed, peak memory {mib} MiB, <f at 0x7f00{mib}0>" for mib in (101, 102)]
    fits = [outcome(0, split, text) for split, text in enumerate(texts)]
    assert [one.count for one in count_failures(fits, CANDIDATES)] == [2]


def test_a_long_error_is_not_cut() -> None:
    """The line of an error holds its whole text, without the module of its class."""
    text = "sklearn.utils._param_validation.InvalidParameterError: " + "word " * 100 + "end"
    (failure,) = count_failures([outcome(0, 0, text)], CANDIDATES)
    line = failure_line(failure)
    assert line.startswith("InvalidParameterError: word ")
    assert "word end (1 fit" in line


def test_errors_that_differ_in_each_fit_stay_few() -> None:
    """Of a thousand different errors the most frequent are kept, and the others counted."""
    fits = [outcome(0, split, raised(ValueError(f"row {split}"))) for split in range(1000)]
    failures = count_failures(fits, CANDIDATES)
    assert len(failures) == MOST_ERRORS
    assert "995 x other errors" in failures_text(failures, 1000).splitlines()
