"""Differences between two runs."""

from __future__ import annotations

import io
import json
from typing import Any

from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier

from skygrid.reports.comparison import ComparedRun, compare_runs, comparison_json
from skygrid.reports.console import SafeConsole
from skygrid.reports.result_json import result_json
from skygrid.reports.run_record import RunRecord, driver_mark
from skygrid.reports.summary import RunFacts, summarise
from skygrid.reports.terminal.compared import comparison_view

X, Y = load_iris(return_X_y=True)


def run(name: str, neighbors: list[int], rows: slice = slice(None), **record: Any) -> ComparedRun:
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": neighbors}, cv=3)
    search.fit(X[rows], Y[rows])
    facts = RunFacts(name=name, folder=name, wall_seconds=1.0, outcomes=())
    summary = summarise(search, facts)
    settings: dict[str, Any] = {
        "id": "0", "name": name, "state": "complete", "search_file": "/x/search.py", "argv": (),
        "config": {"retries": 2, "name": name}, "started_at": 0.0, "driver": driver_mark(),
        "versions": {"numpy": "2.4"}, "fingerprint": {"numpy": "2.4", "X": "a", "param_grid": "b"},
    }  # fmt: skip
    return ComparedRun(
        name=name,
        state="complete",
        record=RunRecord(**(settings | record)),
        summary=summary,
        results=json.loads(result_json(summary, search.cv_results_))["cv_results"],
    )


def text_of(found: Any) -> str:
    console = SafeConsole(io.StringIO())
    console.width = 80
    console.print(comparison_view(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_equal_candidates_of_two_grids_have_equal_scores():
    """Values that only one grid has are named, and equal scores are said to be equal."""
    found = compare_runs(
        run("one", [1, 3, 5]),
        run("two", [3, 5, 7], fingerprint={"numpy": "2.4", "X": "a", "param_grid": "c"}),
    )

    (grid,) = found.grid
    assert (grid.fact, grid.first, grid.second) == ("n_neighbors", "1", "7")
    assert (found.inputs, found.common, found.changed) == (("param_grid",), 2, ())
    assert (found.versions, found.settings) == ((), ())
    text = text_of(found)
    assert "2 candidates in both runs: all scores are equal to the last bit" in text
    assert json.loads(comparison_json(found))["kind"] == "compare"


def test_other_data_versions_and_settings_are_named():
    """Data, versions and settings that differ are named, with both scores of each candidate."""
    found = compare_runs(
        run("one", [1, 3]),
        run("two", [1, 3], slice(0, None, 2), config={"retries": 5}, versions={"numpy": "2.5"},
            fingerprint={"numpy": "2.5", "X": "z", "param_grid": "b"}),
    )  # fmt: skip

    assert found.inputs == ("X",)
    assert [(one.fact, one.first, one.second) for one in found.settings] == [("retries", "2", "5")]
    assert [(one.fact, one.second) for one in found.versions] == [("numpy", "2.5")]
    assert {one.params["n_neighbors"] for one in found.changed} <= {1, 3}
    assert "2 candidates in both runs: " in text_of(found)


def test_a_run_without_results_is_compared_by_its_settings():
    """A run that has no results yet is compared too."""
    none = run("one", [1])
    empty = ComparedRun(name="e", state="running", record=none.record, summary=None, results={})
    found = compare_runs(none, empty)

    assert found.best_scores == (none.summary.best_score, None)  # type: ignore[union-attr]
    assert "no candidate is in both runs" in text_of(found)
