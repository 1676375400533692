"""Results of a node are checked before they are recorded."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest

from skygrid.engine.result_check import CLOCK_STEP, fault_of, safe
from skygrid.plan.records import ScoreForm
from skygrid.worker.evaluation.exception_records import records_of
from skygrid.worker.wire.messages.results import (
    DURATIONS,
    MOST_DIGITS,
    FitResult,
    TypedNumber,
    WarningNote,
)
from skygrid.worker.wire.scores import to_wire

ONE = ScoreForm(open=False)
SEVERAL = ScoreForm(open=False, metrics=frozenset({"a", "b"}))
ANY = ScoreForm()
WITH_TRAIN = ScoreForm(open=False, train=True)

HONEST: list[tuple[ScoreForm, Any, Any]] = [
    (ONE, 0.5, None),
    (ONE, float("nan"), None),
    (ONE, to_wire(np.float32(0.5)), None),
    (ONE, to_wire(10**300), None),
    (SEVERAL, {"a": 0.5, "b": to_wire(True)}, None),
    (ANY, 0.5, None),
    (ANY, {"mine": 0.5}, None),
    (WITH_TRAIN, 0.5, 1.0),
]

WRONG: list[tuple[ScoreForm, Any, Any]] = [
    (ONE, None, None),
    (ONE, {"a": 0.5}, None),
    (ONE, {}, None),
    (ONE, TypedNumber("int", "f" * 400), None),
    (ONE, TypedNumber("fraction", "f" * 400 + "/1"), None),
    (ONE, TypedNumber("int", "x"), None),
    (ONE, TypedNumber("<f8", "00"), None),
    (ONE, TypedNumber("decimal", "sNaN"), None),
    (ANY, {"mine": TypedNumber("decimal", "-sNaN7")}, None),
    (ONE, TypedNumber("|V9", ""), None),
    (ONE, 0.5, 1.0),
    (SEVERAL, 0.5, None),
    (SEVERAL, {}, None),
    (SEVERAL, {"a": 0.5}, None),
    (SEVERAL, {"a": 0.5, "b": 0.5, "c": 0.5}, None),
    (ANY, TypedNumber("int", "f" * 400), None),
    (WITH_TRAIN, 0.5, None),
    (WITH_TRAIN, 0.5, {"a": 1.0}),
]


def result(test: Any, train: Any, status: Any = "scored") -> FitResult:
    return FitResult(
        lease=1, candidate=0, slot=0, status=status, test_scores=test, train_scores=train
    )


@pytest.mark.parametrize(("form", "test", "train"), HONEST)
def test_scores_of_the_scorer_pass(form: ScoreForm, test: Any, train: Any) -> None:
    """Every score that scikit-learn would assemble is accepted."""
    assert fault_of(result(test, train), form, 0.0) is None


@pytest.mark.parametrize(("form", "test", "train"), WRONG)
def test_other_scores_are_refused(form: ScoreForm, test: Any, train: Any) -> None:
    """Scores of the wrong form, or that no float can hold, have a fault."""
    assert fault_of(result(test, train), form, 0.0)


SCORED = FitResult(lease=1, candidate=0, slot=0, status="scored", test_scores=0.5)
FAILED = FitResult(lease=1, candidate=0, slot=0, status="failed", fit_error="ValueError: x")
RAISED = FitResult(
    lease=1, candidate=0, slot=0, status="raised", fit_error="x", exception=records_of(ValueError())
)


@pytest.mark.parametrize("one", [SCORED, FAILED, RAISED], ids=lambda one: one.status)
def test_a_result_has_the_fields_of_its_status(one: FitResult) -> None:
    """Scored fits have scores, failed ones an error, raised ones an exception too."""
    assert fault_of(one, ONE, 0.0) is None


@pytest.mark.parametrize(
    ("one", "changes"),
    [
        (SCORED, {"fit_error": "ValueError: x"}),
        (SCORED, {"exception": RAISED.exception}),
        (FAILED, {"fit_error": None}),
        (FAILED, {"fit_error": ""}),
        (FAILED, {"test_scores": 0.5}),
        (FAILED, {"test_scores": {"a": TypedNumber("int", "f" * 400)}}),
        (FAILED, {"train_scores": 0.5}),
        (FAILED, {"exception": RAISED.exception}),
        (RAISED, {"exception": ()}),
        (RAISED, {"fit_error": None}),
        (RAISED, {"test_scores": 0.5}),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    one: FitResult, changes: dict[str, Any]
) -> None:
    """A result that cannot come from a fit has a fault."""
    assert fault_of(msgspec.structs.replace(one, **changes), ONE, 0.0)


@pytest.mark.parametrize("name", DURATIONS)
def test_a_fit_cannot_take_longer_than_the_run(name: str) -> None:
    """Times may be wrong by a day, as clocks are set, and not by years."""
    for seconds, faulty in ((3600.0 + CLOCK_STEP, False), (-CLOCK_STEP, False), (1e9, True)):
        for one in (SCORED, FAILED, RAISED):
            timed = msgspec.structs.replace(one, **{name: seconds})
            assert bool(fault_of(timed, ONE, 3600.0)) is faulty


def test_texts_of_a_result_are_safe_for_a_terminal() -> None:
    """Escape sequences are removed from errors and warnings, and nothing else is."""
    rude = "\x1b]0;owned\x07\x1b[2J\x9b31m\xa0é\u200b\r\n\t"
    note = WarningNote(f"builtins:{rude}", rude, rude, 1)
    one = safe(msgspec.structs.replace(FAILED, fit_error=rude, warnings=(note,)))
    clean = "?]0;owned??[2J?31m\xa0é\u200b\r\n\t"
    assert one.fit_error == clean
    assert one.warnings == (WarningNote(f"builtins:{clean}", clean, clean, 1),)


@pytest.mark.parametrize("kind", ["int", "fraction", "decimal"])
def test_a_score_with_too_many_digits_is_no_message(kind: str) -> None:
    """A score that takes long to read is refused with the message that holds it."""
    wire = msgspec.msgpack.encode(result(TypedNumber(kind, "1" * (MOST_DIGITS + 1)), None))
    with pytest.raises(msgspec.ValidationError, match="length <= 10000"):
        msgspec.msgpack.decode(wire, type=FitResult)


def test_a_score_that_no_float_can_hold_raises_as_in_scikit_learn() -> None:
    """The slot reports the error that scikit-learn raises for the array of scores."""
    for score in (10**400, Fraction(10**400), Decimal("sNaN")):
        with pytest.raises((OverflowError, ValueError)) as ours:
            to_wire(score)
        with pytest.raises(ours.type) as theirs:
            np.array([score], dtype=np.float64)
        assert ours.value.args == theirs.value.args
