"""From a run's folder to a report."""

from __future__ import annotations

import time
from contextlib import closing

import msgspec
import pytest
from sklearn.svm import SVC

from skygrid.errors import UsageError
from skygrid.journal import plans
from skygrid.journal.sqlite import SqliteJournal
from skygrid.reports.html.analysed import analyse
from skygrid.reports.html.gather import gather
from skygrid.reports.html.page import render
from skygrid.reports.partial_results import partial_results, partial_summary
from skygrid.reports.result_json import amend, read_document, result_json, write_result
from skygrid.reports.run_record import RunRecord
from skygrid.reports.summary import RunFacts
from tests.recorded_runs import BEGAN, failed, outcome, recorded_run

GRID = [{"C": 1}, {"C": 10}, {"C": 100}]


def report_of(folder, **more):
    return gather(folder, now=BEGAN + 100, **more)


def test_a_partial_run_has_means_over_the_splits_so_far(tmp_path):
    """Means, places and counts of a partial run come from the outcomes that are there."""
    outcomes = [outcome(0, 0, 0.5), outcome(0, 1, 0.7), outcome(1, 0, 0.9)]

    report = report_of(recorded_run(tmp_path / "run", GRID, outcomes))

    assert report.partial
    assert report.candidates.means["score"] == (pytest.approx(0.6), pytest.approx(0.9), None)
    assert report.candidates.done == (2, 1, 0)
    assert report.candidates.ranks["score"] == (2, 1, 3)
    assert report.splits == 3
    assert report.best == 0  # more of its splits are done


def test_a_candidate_with_a_failed_fit_has_no_mean_so_far(tmp_path):
    """A partial report ranks no candidate by the splits that happened to succeed."""
    outcomes = [outcome(0, split, 0.5) for split in range(3)]
    outcomes += [failed(1, 0, "ValueError: no"), outcome(1, 1, 0.9), outcome(1, 2, 0.9)]

    report = report_of(recorded_run(tmp_path / "run", GRID, outcomes))

    assert report.candidates.means["score"] == (0.5, None, None)
    assert report.candidates.stds["score"] == (0.0, None, None)
    assert report.best == 0


def test_the_best_candidate_is_the_first_of_equal_ones(tmp_path):
    """Of candidates with equal means and splits, the first is the best, as in scikit-learn."""
    outcomes = [outcome(row, split, 0.5) for row in range(3) for split in range(3)]

    assert report_of(recorded_run(tmp_path / "run", GRID, outcomes)).best == 0


def test_a_run_without_outcomes_has_a_report(tmp_path):
    """A run that has recorded nothing yet has a report without a best candidate."""
    report = report_of(recorded_run(tmp_path / "run", GRID, []))

    assert report.best is None
    assert report.fits == 0
    assert len(report.candidates) == 3


def test_a_run_without_a_journal_has_a_report(tmp_path):
    """A journal that cannot be read becomes a note."""
    folder = recorded_run(tmp_path / "run", GRID, [])
    (folder / "journal.sqlite").unlink()

    report = report_of(folder)

    assert "there is no journal" in report.notes[0]


def test_a_folder_without_a_run_is_refused(tmp_path):
    """A folder that holds no run is one clear error."""
    with pytest.raises(UsageError, match="holds no run"):
        report_of(tmp_path)


def test_a_plan_that_was_too_large_to_keep_leaves_the_scores(tmp_path, monkeypatch):
    """Without a recorded plan the candidates have scores, and no parameters."""
    monkeypatch.setattr(plans, "STORED_BYTES", 10)
    outcomes = [outcome(row, split, row / 10) for row in range(3) for split in range(3)]

    report = report_of(recorded_run(tmp_path / "run", GRID, outcomes))

    assert report.candidates.params == ({}, {}, {})
    assert report.best == 2
    assert report.splits == 3
    assert "<h2" in render(report)


def test_failures_are_grouped_with_the_parameters_that_they_share(tmp_path):
    """Equal errors are one group with its count, candidates, splits and shared parameters."""
    grid = [{"C": c, "kernel": k} for c in (-1, 1) for k in ("rbf", "linear")]
    outcomes = [
        *(
            failed(row, split, "ValueError: C must be positive")
            for row in (0, 1)
            for split in range(3)
        ),
        failed(3, 2, "ZeroDivisionError: division by zero"),
        outcome(2, 0),
    ]

    first, second = report_of(recorded_run(tmp_path / "run", grid, outcomes)).failures

    assert first.error == "ValueError: C must be positive"
    assert (first.count, first.candidates, first.splits) == (6, (0, 1), (0, 1, 2))
    assert first.common == {"C": -1}
    assert 'File "x.py"' in first.traceback
    assert (second.count, second.splits) == (1, (2,))


def test_errors_that_differ_in_a_measurement_are_one_group(tmp_path):
    """Addresses, and the numbers in the reasons of killed fits, do not divide a group."""
    outcomes = [
        *(failed(0, split, f"ValueError: <A object at 0x7f{split}>") for split in range(3)),
        *(
            outcome(
                1, split, None, status="killed", fit_error=f"timeout: peak memory 12{split} MiB"
            )
            for split in range(3)
        ),
        *(failed(2, split, f"ValueError: {split} is wrong") for split in range(2)),
    ]

    groups = report_of(recorded_run(tmp_path / "run", GRID, outcomes)).failures

    assert [one.count for one in groups] == [3, 3, 1, 1]
    assert groups[1].error == "timeout: peak memory 120 MiB"


def test_several_metrics_are_columns(tmp_path):
    """A multimetric search has one table of scores for each metric."""
    outcomes = [outcome(0, 0, {"f1": 0.5, "auc": 0.7})]

    report = report_of(recorded_run(tmp_path / "run", GRID, outcomes))

    assert set(report.candidates.scores) == {"f1", "auc"}
    assert report.candidates.means["auc"][0] == 0.7


def test_outcomes_that_arrived_together_are_placed_one_after_another(tmp_path):
    """Fits of a slot do not overlap, although their outcomes arrive in batches."""
    at = BEGAN + 10
    outcomes = [outcome(0, split, slot=0, busy_seconds=1.0, finished_at=at) for split in range(3)]

    (line,) = report_of(recorded_run(tmp_path / "run", GRID, outcomes)).slots

    assert [(one.begin, one.end) for one in line.stretches] == [(7, 8), (8, 9), (9, 10)]


def test_events_of_nodes_come_from_the_log(tmp_path):
    """Nodes that were ready, lost and gone are listed with their time since the start."""
    folder = recorded_run(tmp_path / "run", GRID, [])
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(BEGAN + 5))
    (folder / "logs").mkdir()
    (folder / "logs" / "driver.log").write_text(
        f"{stamp},250 skygrid.reports.progress: local-1: working\n"
        f"{stamp},500 skygrid.reports.progress: local-1 is lost: its process ended\n"
        f"{stamp},750 skygrid.reports.progress: a search file may print this: working\n"
        f"{stamp},900 skygrid.reports.progress: local-1: candidate 0, split 1 took its slot down: "
        "killed by signal 9\n"
    )
    greeting = (
        b'{"type":"greeting","protocol":1,"versions":{},"host":"h","cpu":"c","machine":"m","vcpus":1,'
        b'"memory_bytes":1,"slots":1,"threads_per_slot":1,"pid":1}'
    )
    with closing(SqliteJournal(folder / "journal.sqlite")) as journal:
        journal.record_node("local-1", greeting)

    report = report_of(folder)

    assert [(one.at, one.what) for one in report.events] == [
        (5.25, "working"),
        (5.5, "lost: its process ended"),
    ]
    assert report.retries == 1


def test_reading_leaves_no_files_beside_the_journal(tmp_path):
    """A report of a run that has ended adds nothing to its folder."""
    folder = recorded_run(tmp_path / "run", GRID, [outcome(0, 0)])
    before = sorted(path.name for path in folder.iterdir())

    report_of(folder)

    assert sorted(path.name for path in folder.iterdir()) == before


def test_estimators_as_values_are_families(tmp_path):
    """Candidates with different estimators for a step are analysed apart, without loading them."""
    grid = [{"clf": SVC(), "clf__C": 1}, {"clf": SVC(), "clf__C": 2}, {"clf": "passthrough"}]
    outcomes = [outcome(row, split, row / 10) for row in range(3) for split in range(3)]

    analysis = analyse(report_of(recorded_run(tmp_path / "run", grid, outcomes)))

    assert [one.rows for one in analysis.families] == [(0, 1), (2,)]
    assert analysis.notes == ()


def test_the_search_file_of_a_stranger_is_not_read(tmp_path):
    """A record of another user's run may name any file; the report does not show it."""
    secret = tmp_path / "secret"
    secret.write_text("a password")
    folder = recorded_run(tmp_path / "run", GRID, [])
    record = RunRecord.read(folder)
    msgspec.structs.replace(record, search_file=str(secret)).write(folder)
    (folder / "search.py").symlink_to(secret)

    assert report_of(folder).source is None
    assert report_of(folder, own=True).source == "a password"


def complete_run(folder, grid, **cv_results):
    """Write a complete run with a result document; return its folder and the report."""
    outcomes = [outcome(row, split, row / 10) for row in range(len(grid)) for split in range(3)]
    recorded_run(folder, grid, outcomes, state="complete")
    facts = RunFacts(
        name="run", folder="run", wall_seconds=1.0, outcomes=outcomes, candidates={0: grid}
    )
    table = partial_results({0: grid}, outcomes, 3)
    write_result(folder, result_json(partial_summary(facts), table, outcomes))
    amend(folder, cv_results=msgspec.json.decode(read_document(folder))["cv_results"] | cv_results)
    return folder


def test_objects_are_shown_as_python_writes_them(tmp_path, monkeypatch):
    """Estimators and tuples among the values are no JSON, with the plan and without it."""
    grid = [{"clf": SVC(C=3), "layers": (50, 50)}, {"clf": "drop", "layers": (20,)}]
    page = render(report_of(complete_run(tmp_path / "run", grid)))
    monkeypatch.setattr(plans, "STORED_BYTES", 10)
    without = report_of(complete_run(tmp_path / "without", grid))

    assert "SVC(C=3)" in page
    assert "$object" not in page
    assert without.candidates.params[0] == {"clf": "SVC(C=3)", "layers": (50, 50)}
    assert "$tuple" not in render(without)


@pytest.mark.parametrize(
    "column",
    [
        {"mean_test_score": ["<b>", 0.1, 0.2]},
        {"split0_test_score": [{"$float": "nan"}, 0.1, 0.2]},
        {"split1_test_score": [0.1, 0.2]},
        {"rank_test_score": [None, 2, 1]},
        {"std_test_score": [[0.1], 0.1, 0.2]},
        {"params": [1, 2, 3]},
    ],
)
def test_a_changed_result_document_gives_way_to_the_journal(tmp_path, column):
    """Values of other types in result.json become a note; the scores are the journal's."""
    report = report_of(complete_run(tmp_path / "run", GRID, **column))

    assert f"result.json has no table of numbers in {next(iter(column))}" in report.notes[0]
    assert report.candidates.means["score"] == (0.0, pytest.approx(0.1), pytest.approx(0.2))
    assert "<h2" in render(report)


def test_large_whole_scores_are_drawn(tmp_path):
    """A score that someone wrote as a whole number is a number."""
    folder = complete_run(tmp_path / "run", GRID, split0_test_score=[2**63, 1, 0])

    assert "<h2" in render(report_of(folder))
