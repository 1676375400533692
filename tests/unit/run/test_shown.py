"""Results of a run that has not ended, from its record and journal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from skygrid.reports.partial_results import recorded_seconds
from skygrid.reports.result_json import result_json, write_result
from skygrid.reports.run_record import DriverMark, RunRecord, driver_mark
from skygrid.run.loaded import load
from skygrid.run.shown import shown_results
from tests.recorded_runs import BEGAN, outcome, recorded_run

KILLED = DriverMark(pid=os.getpid(), host=driver_mark().host, started="another process")


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The folder of a run with two metrics whose driver was killed."""
    scores = [{"acc": 0.9, "loss": -2.0}, {"acc": 0.8, "loss": -1.0}]
    outcomes = [outcome(row, split, scores[row]) for row in range(2) for split in range(3)]
    return recorded_run(
        tmp_path / "run",
        [{"C": 1}, {"C": 10}],
        outcomes,
        state="running",
        ranked_by="loss",
        driver=KILLED,
    )


def test_a_killed_run_is_ranked_by_the_metric_of_refit(killed: Path) -> None:
    """`show` and `load` rank a killed run by the scorer that refit names, as its report does."""
    shown = shown_results(killed, RunRecord.read(killed))
    assert shown is not None
    loaded = load(killed, trust=True).summary

    for summary in (shown.summary, loaded):
        assert (summary.search, summary.metric) == ("GridSearchCV", "loss")
        assert (summary.best_index, summary.best_score) == (1, -1.0)


def test_a_killed_run_ended_with_its_last_fit(killed: Path) -> None:
    """The time of a killed run ends with its last recorded fit, and grows no more."""
    record = RunRecord.read(killed)
    outcomes = [outcome(0, 0, finished_at=BEGAN + 2.5), outcome(1, 0, finished_at=BEGAN + 1)]

    assert recorded_seconds(record, outcomes, BEGAN + 1000) == 2.5
    assert recorded_seconds(record, [], BEGAN + 1000) == 0.0


def test_a_renamed_run_has_the_name_of_its_folder(killed: Path) -> None:
    """The name and place of a moved run are those that commands find it by."""
    record = RunRecord.read(killed)
    shown = shown_results(killed, record)
    assert shown is not None
    write_result(killed, result_json(shown.summary, shown.results))
    replace(record, state="complete", ended_at=BEGAN + 9).write(killed)
    moved = killed.rename(killed.with_name("moved"))

    shown = shown_results(moved, RunRecord.read(moved))
    assert shown is not None
    for summary in (shown.summary, load(moved).summary):
        assert (summary.name, summary.folder) == ("moved", str(moved))
