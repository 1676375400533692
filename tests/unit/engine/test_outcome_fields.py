"""Each fact of a fit is one field, from the wire to the journal."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from skygrid.engine.round import RoundInProgress
from skygrid.journal.sqlite import SqliteJournal
from skygrid.listener import Listener
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.queue.verdicts import Completion, Verdict
from skygrid.worker.wire.frames import FrameReader, encode
from skygrid.worker.wire.messages.from_agent import FromAgent
from skygrid.worker.wire.messages.results import FitFacts, FitResult, Report, WarningNote

VALUES: dict[str, Any] = {
    "test_scores": 0.5,
    "train_scores": {"accuracy": 0.75},
    "fit_error": "Traceback",
    "warnings": (WarningNote("builtins:UserWarning", "text", "file.py", 1),),
}
"""Values of fields that are neither number nor bool."""


def changed(field: msgspec.structs.FieldInfo) -> Any:
    """Return a value that differs from the field's default."""
    if field.name in VALUES:
        return VALUES[field.name]
    if isinstance(field.default, bool):
        return not field.default
    return field.default + 1


def recorded(result: FitResult, path: Path) -> Outcome:
    """Return the outcome that an SQLite journal stores of a result from the wire."""
    (report,) = FrameReader(FromAgent).feed(encode(Report(round=0, results=[result])))
    not_used: Any = None
    with closing(SqliteJournal(path)) as journal:
        work = RoundInProgress(
            serial=0,
            plan=RoundPlan(round=0, candidates=[{}], splits=[([0], [1])]),
            blobs=not_used,
            queue=not_used,
            record=journal.append,
            listener=Mock(spec=Listener),
        )
        done = Completion(verdict=Verdict.FIRST, candidate=0, split=0, attempt=1)
        work.take("node-1", report.results[0], done, finished_at=1.0)
        work.record_all()
        (outcome,) = journal.outcomes(0)
    return outcome


@pytest.mark.parametrize("field", msgspec.structs.fields(FitFacts), ids=lambda field: field.name)
def test_each_fact_of_a_fit_is_recorded(field: msgspec.structs.FieldInfo, tmp_path: Path) -> None:
    """Each field that a slot fills arrives in the journal."""
    value = changed(field)
    assert value != field.default
    plain: dict[str, Any] = {
        "test_scores": 0.5, "fit_seconds": 1.0, "score_seconds": 1.0, "busy_seconds": 1.0,
    }  # fmt: skip
    facts = plain | {field.name: value}
    result = FitResult(lease=1, candidate=0, slot=0, status="scored", **facts)
    outcome = recorded(result, tmp_path / "journal.sqlite")
    assert {name: getattr(outcome, name) for name in facts} == facts
