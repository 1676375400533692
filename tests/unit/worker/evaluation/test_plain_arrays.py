"""Answers to scikit-learn's questions about data are the same in a slot as elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.utils import validation

from skygrid.worker.evaluation.plain_arrays import know_plain_arrays

asked = pytest.importorskip(
    "narwhals.stable.v2.dependencies", reason="this scikit-learn does not ask narwhals"
)
QUESTIONS = ("is_into_dataframe", "is_into_series")


class OwnArray(np.ndarray):
    """Array that calls itself a table."""

    def __narwhals_dataframe__(self) -> Any:
        return self


class Column:
    """Column of an unknown library."""

    def __narwhals_series__(self) -> Any:
        return self


DATA = {
    "numbers": np.zeros((2, 2)),
    "objects": np.array([{}, None]),
    "matrix": np.asmatrix(np.zeros((2, 2))),
    "own array": np.zeros((2, 2)).view(OwnArray),
    "list": [[1.0]],
    "pandas frame": pd.DataFrame({"a": [1]}),
    "pandas series": pd.Series([1]),
    "polars frame": pl.DataFrame({"a": [1]}),
    "polars lazy frame": pl.LazyFrame({"a": [1]}),
    "polars series": pl.Series([1]),
    "unknown column": Column(),
    "none": None,
}


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the questions as a slot does, and restore them afterwards."""
    for question in QUESTIONS:
        monkeypatch.setattr(asked, question, getattr(asked, question))
    know_plain_arrays()


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", DATA)
def test_a_slot_gives_the_same_answers(question: str, name: str, request: Any) -> None:
    """Data is a table or a column in a slot if it is one elsewhere."""
    expected = getattr(asked, question)(DATA[name])
    request.getfixturevalue("knowing")
    assert getattr(asked, question)(DATA[name]) is expected


def test_narwhals_is_not_asked_of_plain_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NumPy array is recognised by its type; narwhals examines other data once per call."""
    seen: list[Any] = []
    monkeypatch.setattr(asked, "is_into_dataframe", lambda native: bool(seen.append(native)))
    know_plain_arrays()
    know_plain_arrays()
    table = DATA["pandas frame"]
    for data in (DATA["numbers"], table, DATA["own array"]):
        asked.is_into_dataframe(data)
    assert [type(data) for data in seen] == [pd.DataFrame, OwnArray]


@pytest.mark.usefixtures("knowing")
def test_scikit_learn_asks_these_questions() -> None:
    """scikit-learn 1.9 and later asks through the module that is changed."""
    if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9):
        pytest.skip("this scikit-learn does not ask narwhals")
    for question in QUESTIONS:
        answer = getattr(validation.nw.dependencies, question)
        assert answer.__module__ == know_plain_arrays.__module__
