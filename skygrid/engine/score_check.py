"""Check of the scores that a node reports, before they are recorded."""

from __future__ import annotations

from skygrid.plan.records import ScoreForm
from skygrid.worker.wire.messages import FitResult, Scores


def fault_of(result: FitResult, form: ScoreForm) -> str | None:
    """Return the fault of a result's scores, None if they can be recorded.

    Scores that pass can be assembled into ``cv_results_``: they have the form that the scorer
    gives, and floats can hold them.
    """
    if result.status != "scored":
        return None
    expected = [result.test_scores, *([result.train_scores] if form.train else [])]
    if not form.train and result.train_scores is not None:
        return "train scores that were not asked for"
    for scores in expected:
        fault = _fault(scores, form)
        if fault is not None:
            return fault
    return None


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
