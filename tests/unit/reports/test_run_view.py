"""A run's record, the plan that `check` shows, and their texts."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skygrid.errors import SkygridError, UsageError
from skygrid.reports.console import SafeConsole
from skygrid.reports.run_record import (
    DriverMark,
    NodeRecord,
    RunRecord,
    driver_alive,
    driver_mark,
)
from skygrid.reports.run_view import Headline, RunView, run_json, runs_json
from skygrid.reports.terminal.checked import check_view
from skygrid.reports.terminal.runs import run_panel, runs_view
from skygrid.reports.views import CheckResult, RoundSize, check_json


def record(**more: Any) -> RunRecord:
    settings: dict[str, Any] = {
        "id": "0123456789abcdef",
        "name": "a-run",
        "state": "running",
        "search_file": "/x/search.py",
        "argv": ("skygrid", "run", "search.py"),
        "config": {"retries": 2},
        "started_at": 1000.0,
        "driver": driver_mark(),
    }
    return RunRecord(**(settings | more))


def view(**more: Any) -> RunView:
    one = record(**more)
    return RunView(
        folder=f"skygrid-runs/{one.name}",
        record=one,
        state=one.seen_state(),
        fits_recorded=one.fits_recorded,
    )


def ended_process() -> DriverMark:
    """Return the mark of a process that has ended."""
    script = (
        "from skygrid.reports.run_record import driver_mark; import msgspec;"
        "print(msgspec.json.encode(driver_mark()).decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return DriverMark(**json.loads(done.stdout))


def text_of(renderable: Any, width: int = 80) -> str:
    console = SafeConsole(io.StringIO())
    console.width = width
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_record_is_read_back_unchanged(tmp_path):
    """A record written to run.json is read back equal."""
    one = record(nodes=(NodeRecord(name="one", slots=2),), fingerprint={"X": "ab"}, fits_total=105)

    one.write(tmp_path)

    assert RunRecord.read(tmp_path) == one
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_unknown_keys_of_a_later_release_are_ignored(tmp_path):
    """A record with a key of a later release can be read."""
    record().write(tmp_path)
    document = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(document | {"colour": "red"}))

    assert RunRecord.read(tmp_path) == record()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, UsageError, "holds no run"),
        ('{"format": 2}', UsageError, "has format 2 and this skygrid reads up to 1"),
        ('{"format": 1}', SkygridError, "cannot read .*run.json"),
        ("{", SkygridError, "cannot read .*run.json"),
    ],
)
def test_records_that_cannot_be_read(tmp_path, text, error, message):
    """A missing, later or damaged record raises an error that names the file."""
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(error, match=message):
        RunRecord.read(tmp_path)


def test_a_driver_on_this_machine_is_alive():
    """A run whose driver runs has the state running."""
    assert driver_alive(driver_mark())
    assert record().seen_state() == "running"


def test_a_run_without_its_driver_is_interrupted():
    """A running run without its driver is shown as interrupted."""
    assert record(driver=ended_process()).seen_state() == "interrupted"
    assert record(driver=ended_process(), state="complete").seen_state() == "complete"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_another_process_with_the_same_pid_is_not_the_driver():
    """A later process with the driver's pid does not keep a run running."""
    mark = driver_mark()
    later = DriverMark(pid=os.getpid(), host=mark.host, started=mark.started + "0")

    assert not driver_alive(later)


def test_a_driver_on_another_machine_counts_as_alive():
    """A driver on another machine cannot be checked, so it counts as alive."""
    assert driver_alive(DriverMark(pid=1, host="some-other-machine"))


def test_runs_table():
    """The table shows name, state, fits and times, and a resume line where that is possible."""
    views = [
        view(name="new", fits_total=105, fits_recorded=63, driver=ended_process()),
        view(name="old", state="complete", fits_total=10, fits_recorded=10, ended_at=1090.0),
        view(name="now", fits_recorded=3),
    ]

    text = text_of(runs_view(views, now=1010.0), 100)

    assert text.splitlines()[1].split()[:6] == ["new", "interrupted", "-", "-", "-", "63/105"]
    assert "1 min 30 s" in text.splitlines()[2]
    assert text.splitlines()[3].split()[:6] == ["now", "running", "-", "-", "-", "3/?"]
    assert "10.0 s" in text.splitlines()[3]
    assert "resume with: skygrid resume new" in text


def test_runs_table_leaves_out_columns_where_there_is_no_room():
    """A run's score, metric and size are listed; a narrow terminal keeps the score longest."""
    found = Headline(metric="accuracy", best_score=0.5, candidates=12)
    views = [dataclasses.replace(view(state="complete", ended_at=1001.0), headline=found)]

    wide, narrow = (text_of(runs_view(views, 1010.0, left_out=3), width) for width in (100, 40))

    assert wide.splitlines()[0].split() == [
        *("run", "state", "score", "metric", "candidates", "fits", "started", "took", "file")
    ]
    assert wide.splitlines()[1].split()[2:5] == ["0.50000", "accuracy", "12"]
    assert wide.splitlines()[1].rstrip().endswith("search.py")
    assert max(map(len, narrow.splitlines())) <= 40
    assert narrow.splitlines()[1].split()[2] == "0.50000"
    assert "3 older runs: skygrid runs --limit 4" in wide


def test_runs_table_names_runs_as_commands_find_them():
    """Name and hint are those of the folder, whatever a foreign record calls the run."""
    one = record(name="\x1b]52;c;eA==\x07", driver=ended_process())
    seen = RunView(folder="else where/mine", record=one, state="interrupted", fits_recorded=0)

    text = text_of(runs_view([seen], now=1010.0))

    assert text.splitlines()[1].split()[0] == "mine"
    assert "resume with: skygrid resume 'else where/mine'" in text
    assert text.replace("\n", "").isprintable()


def test_runs_table_gives_few_hints():
    """Of many interrupted runs the newest three have a hint."""
    views = [view(name=f"run-{number}", driver=ended_process()) for number in range(3, 0, -1)]

    text = text_of(runs_view([*views, *views], now=1010.0))

    assert text.count("resume with: ") == 3
    assert "3 older runs can be resumed too" in text


def test_panel_of_an_unfinished_run():
    """A run without results shows its progress, its end and the resume line."""
    text = text_of(
        run_panel(
            view(
                state="stopped",
                error="24 hours are over",
                ended_at=2000.0,
                fits_total=9,
                fits_recorded=4,
                nodes=(NodeRecord(name="one", slots=2, host="box", cpu="A CPU"),),
            ),
            now=3000.0,
        )
    )

    assert "stopped" in text
    assert "4/9" in text
    assert "24 hours are over" in text
    assert "resume with: skygrid resume a-run" in text


def test_json_of_a_run():
    """The JSON of a run contains its actual state."""
    document = json.loads(run_json(view(driver=ended_process())))

    assert document["state"] == "interrupted"
    assert (document["name"], document["folder"]) == ("a-run", "skygrid-runs/a-run")


def test_check_adds_up():
    """Fits and time are sums over all rounds, each in whole turns of all slots."""
    check = CheckResult(
        search="HalvingGridSearchCV",
        rounds=(RoundSize(candidates=7, splits=5), RoundSize(candidates=3, splits=5)),
        nodes=1,
        slots=4,
        seconds_per_fit=0.5,
        sample_score=0.9,
    )

    assert (check.candidates, check.splits, check.fits) == (7, 5, 50)
    assert check.estimated_seconds == (9 + 4) * 0.5
    document = json.loads(check_json(check))
    assert (document["format"], document["fits"], document["estimated_seconds"]) == (2, 50, 6.5)
    text = text_of(check_view(check))
    assert "7 candidates x 5 splits = 35 fits" in text
    assert "together   50 fits" in text
    assert "scored 0.90000" in text


def test_check_without_a_fit_has_no_estimate():
    """A plan without a trial fit has no estimate."""
    check = CheckResult(
        search="GridSearchCV", rounds=(RoundSize(candidates=2, splits=5),), nodes=1, slots=2
    )

    assert check.estimated_seconds is None
    assert "estimate" not in text_of(check_view(check))


def test_check_shows_a_fit_that_failed():
    """The plan shows the traceback of a failed trial fit."""
    check = CheckResult(
        search="GridSearchCV",
        rounds=(RoundSize(candidates=2, splits=5),),
        nodes=3,
        slots=12,
        open_ended=True,
        seconds_per_fit=0.1,
        sample_error="Traceback ...\nValueError: C must be positive\n",
    )

    text = text_of(check_view(check))

    assert "  ValueError: C must be positive" in text
    assert "3 nodes, 12 slots in all" in text


def test_check_of_an_open_search_is_a_minimum():
    """If further rounds may follow, fits and time are "at least"."""
    check = CheckResult(
        search="BayesSearchCV",
        rounds=(RoundSize(candidates=1, splits=3),),
        nodes=1,
        slots=2,
        open_ended=True,
        seconds_per_fit=1.0,
    )

    text = text_of(check_view(check))

    assert "round 1    1 candidate x 3 splits = 3 fits" in text
    assert "together   at least 3 fits: further rounds may follow" in text
    assert "estimate   at least 2.0 s" in text


def test_names_of_other_bytes_and_lines_are_shown() -> None:
    """A folder whose name is no UTF-8, or has two lines, spoils neither the document nor the
    table."""
    odd = dataclasses.replace(view(), folder="skygrid-runs/a\udcffb")
    lines = dataclasses.replace(view(), folder="skygrid-runs/a\nb")

    assert json.loads(runs_json([odd]))["runs"][0]["folder"] == "skygrid-runs/a?b"
    out = io.StringIO()
    SafeConsole(out).print(runs_view([lines], now=0.0))
    assert "\na b " in out.getvalue()
