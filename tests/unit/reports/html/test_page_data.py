"""The data of the page's scripts."""

from __future__ import annotations

import numpy as np
import pytest

from skygrid.reports.html import page_data as module
from skygrid.reports.html.analysed import Analysis
from skygrid.reports.html.gather import gather
from skygrid.reports.html.page_data import page_data
from tests.recorded_runs import BEGAN, outcome, recorded_run


def data_of(folder, grid, scores):
    outcomes = [outcome(row, 0, score) for row, score in enumerate(scores)]
    report = gather(recorded_run(folder / "run", grid, outcomes), now=BEGAN + 9)
    return page_data(report, Analysis())


def test_of_very_many_candidates_the_page_has_the_best_and_a_sample(tmp_path, monkeypatch):
    """A page has a limited number of candidates, the best ones among them, with their numbers."""
    monkeypatch.setattr(module, "MOST_CANDIDATES", 10)
    grid = [{"C": row} for row in range(100)]

    data = data_of(tmp_path, grid, [row / 100 for row in range(100)])

    assert data["n"] <= 11
    assert data["of"] == 100
    assert set(range(95, 100)) <= set(data["ids"])
    assert data["ids"][data["best"]] == 99
    column = data["params"][0]
    assert [column["values"][code] for code in column["index"]] == data["ids"]


def test_single_scores_are_kept_for_the_best_where_there_are_too_many(tmp_path, monkeypatch):
    """Scores of single splits are limited in number; means are there for every candidate."""
    monkeypatch.setattr(module, "MOST_CELLS", 30)
    monkeypatch.setattr(module, "BEST_KEPT", 5)

    data = data_of(tmp_path, [{"C": row} for row in range(50)], [row / 50 for row in range(50)])

    assert len(data["mean"]["score"]) == 50
    assert len(data["scores"]["score"]) == len(data["kept"]) <= 11
    assert set(range(45, 50)) <= set(data["kept"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2.5], "n"),
        ([1, None], "c"),
        ([True, False], "c"),
        (["a", "b"], "c"),
        ([(1,), (2,)], "c"),
    ],
)
def test_a_parameter_is_numeric_if_all_its_values_are_numbers(tmp_path, values, kind):
    """None, booleans, texts and tuples are categories; numbers are an axis."""
    (column,) = data_of(tmp_path, [{"a": value} for value in values], [0.5, 0.6])["params"]

    assert column["kind"] == kind


def test_categories_have_their_python_code(tmp_path):
    """Texts are shown plainly, and copied with quotes; a tuple stays a tuple."""
    (column,) = data_of(tmp_path, [{"a": "x"}, {"a": (100, 50)}], [0.5, 0.6])["params"]

    assert column["values"] == ["x", "(100, 50)"]
    assert column["code"] == ["'x'", "(100, 50)"]


def test_numbers_of_a_column_keep_their_types(tmp_path):
    """Where integers and floats are values of one parameter, the copy of each has its type."""
    (column,) = data_of(
        tmp_path, [{"a": 1}, {"a": np.float64(10.0)}, {"a": np.int64(3)}], [0.5] * 3
    )["params"]

    assert [column["values"][at] for at in column["ints"]] == [1, 3]
