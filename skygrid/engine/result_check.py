"""Check of the results that a node reports, before they are recorded."""

from __future__ import annotations

import operator
from typing import TypeVar

import msgspec

from skygrid.plan.records import ScoreForm
from skygrid.util.terminal import without_escapes
from skygrid.worker.wire.messages.calls import CallDone
from skygrid.worker.wire.messages.results import DURATIONS, FitResult, Scores, WarningNote

_Result = TypeVar("_Result", FitResult, CallDone)

_durations_of = operator.attrgetter(*DURATIONS)

CLOCK_STEP = 24 * 3600.0
"""Seconds by which the clock of an honest node may be set during a fit, in either direction."""


def fault_of(result: FitResult, form: ScoreForm, elapsed: float) -> str | None:
    """Return the fault of a result, None if it can be recorded.

    Scores that pass can be assembled into ``cv_results_``: they have the form that the scorer
    gives, and floats can hold them.

    Parameters
    ----------
    form : ScoreForm
        Form of the scores of the round.
    elapsed : float
        Seconds since the round began.
    """
    longest = max(0.0, elapsed) + CLOCK_STEP
    if max(map(abs, _durations_of(result))) > longest:
        return "a fit that took longer than the run"
    if result.status == "scored":
        return _fault_of_scored(result, form)
    if result.test_scores is not None or result.train_scores is not None:
        return "scores of a fit that failed"
    if not result.fit_error:
        return "a failure without its error"
    if bool(result.exception) != (result.status == "raised"):
        return "an exception that was not raised, or none for one that was"
    return None


def _fault_of_scored(result: FitResult, form: ScoreForm) -> str | None:
    if result.fit_error is not None or result.exception:
        return "the error of a fit that did not fail"
    expected = [result.test_scores, *([result.train_scores] if form.train else [])]
    if not form.train and result.train_scores is not None:
        return "train scores that were not asked for"
    for scores in expected:
        fault = _fault(scores, form)
        if fault is not None:
            return fault
    return None


def safe(result: _Result) -> _Result:
    """Return a result whose texts may be written to a terminal: a script shows its warnings."""
    if result.fit_error is None and not result.warnings:
        return result
    return msgspec.structs.replace(
        result,
        fit_error=result.fit_error and without_escapes(result.fit_error),
        warnings=tuple(
            WarningNote(
                without_escapes(note.category),
                without_escapes(note.message),
                without_escapes(note.filename),
                note.lineno,
            )
            for note in result.warnings
        ),
    )


def _fault(scores: Scores | None, form: ScoreForm) -> str | None:
    if type(scores) is float and form.metrics is None:
        return None
    if scores is None:
        return "no scores for a fit with scores"
    if not form.open and isinstance(scores, dict) != (form.metrics is not None):
        return "one score instead of several, or several instead of one"
    if isinstance(scores, dict) and form.metrics is not None and scores.keys() != form.metrics:
        return "scores of other metrics"
    # It imports NumPy, which must not delay the start of nodes.
    from skygrid.worker.wire.scores import from_wire, to_wire

    try:
        to_wire(from_wire(scores))
    except (ValueError, OverflowError):  # the fault is the answer
        return "scores that cannot be read"
    return None
