"""Folders of runs with chosen outcomes, for tests of reports."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.reports.run_record import DriverMark, RunRecord, SearchFacts, State, driver_mark

BEGAN = 1_700_000_000.0
"""Start of the runs, in seconds since the epoch."""


def recorded_run(
    folder: Path,
    candidates: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcome],
    *,
    splits: int = 3,
    state: State = "interrupted",
    error: str | None = None,
    metric: str = "accuracy",
    ranked_by: str = "",
    driver: DriverMark | None = None,
) -> Path:
    """Write the record and the journal of a run with one round; return its folder."""
    folder.mkdir(parents=True)
    indices = np.arange(30)
    plan = RoundPlan(
        round=0,
        candidates=list(candidates),
        splits=[
            (indices[indices % splits != k], indices[indices % splits == k]) for k in range(splits)
        ],
    )
    with closing(SqliteJournal(folder / "journal.sqlite")) as journal:
        journal.claim({"estimator": "ab" * 32})
        journal.settle(plan)
        journal.append(outcomes)
    RunRecord(
        id="0123456789abcdef",
        name=folder.name,
        state=state,
        search_file=None,
        argv=("skygrid", "run", "search.py"),
        config={},
        started_at=BEGAN,
        ended_at=None if state == "running" else time.time(),
        driver=driver or driver_mark(),
        fits_total=len(candidates) * splits,
        error=error,
        search=SearchFacts(kind="GridSearchCV", metric=metric, ranked_by=ranked_by),
    ).write(folder)
    return folder


def outcome(candidate: int, split: int, score: Any = 0.5, **changes: Any) -> Outcome:
    """Return a scored outcome; `changes` replace its fields."""
    facts: dict[str, Any] = {
        "round": 0,
        "candidate": candidate,
        "split": split,
        "status": "scored",
        "node": "local-1",
        "slot": candidate % 2,
        "test_scores": score,
        "n_test_samples": 10,
        "fit_seconds": 0.1 + candidate / 100,
        "score_seconds": 0.01,
        "busy_seconds": 0.12,
        "finished_at": BEGAN + 1 + candidate + split / 10,
    }
    return Outcome(**(facts | changes))


def failed(candidate: int, split: int, error: str, **changes: Any) -> Outcome:
    """Return a failed outcome whose traceback ends with `error`."""
    trace = f'Traceback (most recent call last):\n  File "x.py", line 1, in fit\n    f()\n{error}\n'
    return outcome(candidate, split, None, status="failed", fit_error=trace, **changes)
