"""Candidates of a search in order, chosen by sort key and parameters."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # makes the import below work
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skygrid.errors import UsageError
from skygrid.plan.records import Outcome
from skygrid.reports.console import SafeConsole
from skygrid.reports.partial_results import partial_results, partial_summary
from skygrid.reports.ranking import Results, ranking, rungs
from skygrid.reports.result_json import result_json
from skygrid.reports.summary import RunFacts, Summary, summarise
from skygrid.reports.terminal.finished import LINES, summary_view

X, Y = load_iris(return_X_y=True)


def made(search: Any, **more: Any) -> tuple[Summary, Results]:
    """Return summary and results of a search as `skygrid show` reads them."""
    search.fit(X, Y)
    facts = RunFacts(**{"name": "a", "folder": "skygrid-runs/a", "wall_seconds": 1.0,
                        "outcomes": ()} | more)  # fmt: skip
    summary = summarise(search, facts)
    return summary, json.loads(result_json(summary, search.cv_results_))["cv_results"]


def grid(**more: Any) -> tuple[Summary, Results]:
    params = {"C": [0.1, 1 / 3, 10], "gamma": [0.1, 1.0], "kernel": ["rbf"]}
    return made(GridSearchCV(SVC(), params, cv=3, **more))


def text_of(view: Any, width: int = 80) -> str:
    console = SafeConsole(io.StringIO())
    console.width = width
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_only_parameters_that_vary_are_shown_with_five_digits():
    """A parameter with one value in the whole search is left out, and floats have five digits."""
    text = text_of(summary_view(*grid()))

    assert "kernel" not in text
    assert "C=0.33333, gamma=" in text


def test_other_metrics_and_the_train_score_are_columns():
    """The table has a column for each other metric and for the train score of the first."""
    found = grid(scoring=["accuracy", "f1_macro"], refit="accuracy", return_train_score=True)

    table = ranking(*found, top=3)

    assert table.others == ("train", "f1_macro")
    for row in table.rows:
        assert row.mean == found[1]["mean_test_accuracy"][row.index]
        assert row.others[1] == found[1]["mean_test_f1_macro"][row.index]
    assert "rank  accuracy      std    train  f1_macro" in text_of(summary_view(*found))


def test_a_halving_search_counts_candidates_once_and_shows_its_iterations():
    """Candidates that a halving search kept are counted and listed once."""
    search = HalvingGridSearchCV(
        DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3, 4, 5, 6]}, random_state=0
    )
    summary, results = made(search)

    shown = [row.params["max_depth"] for row in ranking(summary, results, top=10).rows]
    assert sorted(shown) == [1, 2, 3, 4, 5, 6]
    assert [count for count, _ in rungs(results)] == [6, 2]
    text = text_of(summary_view(summary, results))
    assert "best of 6 candidates in 2 iterations" in text
    assert "6 with " in text


def test_rows_are_sorted_and_chosen_as_asked():
    """--sort takes metrics, times and parameters, --params patterns of values."""
    found = grid()

    by_c = [row.params["C"] for row in ranking(*found, sort="C").rows]
    assert by_c == sorted(by_c)
    times = [row.fit_seconds for row in ranking(*found, sort="fit", top=4).rows]
    assert times == sorted(found[1]["mean_fit_time"])[:4]
    chosen = ranking(*found, params=["C=0.*", "gamma=1.0"]).rows
    assert {row.params["C"] for row in chosen} == {0.1, 1 / 3}
    assert ranking(*found, top=4).left_out == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"sort": "depth"}, "nothing called depth to sort by; there are: score, rank, fit"),
        ({"params": ["depth=3"]}, "no parameter depth; there are: C, gamma, kernel"),
        ({"params": ["C"]}, "write NAME=VALUE"),
    ],
)
def test_choices_that_name_nothing_are_refused(options, named):
    """An unknown key or parameter is refused with the names that there are."""
    with pytest.raises(UsageError, match=named):
        ranking(*grid(), **options)


def test_damaged_columns_are_left_out():
    """Columns of other lengths and values of other types in a damaged file do no harm."""
    summary, results = grid()
    damaged = {**results, "mean_fit_time": [1.0], "std_test_score": ["x"] * 6}

    assert [row.std for row in ranking(summary, damaged).rows] == [None] * 6
    assert ranking(summary, {"params": [1, 2]}).rows[0].index == summary.best_index


def test_a_search_in_progress_has_a_best_so_far():
    """The best so far has the mean of its recorded splits, and their number."""
    candidates = {0: [{"C": 1}, {"C": 10}]}
    outcomes = [
        Outcome(round=0, candidate=0, split=0, status="scored", node="a", slot=0, test_scores=0.5),
        Outcome(round=0, candidate=1, split=0, status="scored", node="a", slot=0, test_scores=0.75),
    ]
    facts = RunFacts(
        name="a", folder="skygrid-runs/a", wall_seconds=1.0, outcomes=outcomes,
        candidates=candidates,
    )  # fmt: skip
    summary = partial_summary(facts, "GridSearchCV", 5)

    text = text_of(summary_view(summary, partial_results(candidates, outcomes, 5), complete=False))

    assert "best so far of 2 candidates" in text
    assert "0.75000  mean of 1 of 5 splits" in text
    assert "1 of 5  0.75000" in text


@pytest.mark.parametrize("width", [80, 100])
def test_a_summary_with_everything_has_at_most_25_lines(width):
    """Many parameters, failures, warnings and metrics do not push a summary off the screen."""
    names = {f"a_rather_long_name_of_parameter_{number}": number for number in range(12)}
    candidates = [{key: value + number for key, value in names.items()} for number in range(40)]
    outcomes = [
        Outcome(
            round=0, candidate=number, split=0, status="failed", node="a", slot=0,
            fit_error=f"ValueError: {'a long reason of number '} {number % 7}",
        )
        for number in range(20)
    ]  # fmt: skip
    search = GridSearchCV(SVC(), {"C": [*range(1, 41)]}, cv=3, scoring=["accuracy", "f1_macro"],
                          refit="f1_macro", return_train_score=True)  # fmt: skip
    summary, results = made(search, outcomes=outcomes, candidates={0: candidates},
                            holdout_score={"accuracy": 0.5, "f1_macro": math.nan})  # fmt: skip
    results = {**results, "params": candidates}

    text = text_of(summary_view(summary, results), width)

    assert len(text.splitlines()) <= LINES
    assert max(map(len, text.splitlines())) <= width
    assert "ValueError: a long reason" in text
    assert "skygrid report a" in text
