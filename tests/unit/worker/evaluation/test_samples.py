"""Fits get scikit-learn's samples without its checks."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, KFold, _validation
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import metaestimators

from skygrid.worker.evaluation.samples import SplitSamples

TREE = DecisionTreeClassifier()
OWN = metaestimators._safe_indexing


def taken(
    samples: SplitSamples, estimator: Any, X: Any, y: Any, split: tuple[Any, Any]
) -> list[tuple[Any, Any]]:
    """Return train and test samples as a fit takes them."""
    train, test = split
    with samples.unchecked(0):
        return [
            _validation._safe_split(estimator, X, y, train),
            _validation._safe_split(estimator, X, y, test, train),
        ]


def layout(array: Any) -> tuple[Any, ...]:
    """Return the properties of an array that an estimator can read, except its address."""
    return type(array), array.dtype, array.shape, array.strides, array.flags.owndata


@given(
    data=st.data(),
    dtype=st.sampled_from(["f8", "f4", "i8", "u1", "?", "O", "U3", ">f8"]),
    shape=arrays.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=6),
    order=st.sampled_from(["C", "F", "steps"]),
)
def test_samples_are_the_same_to_the_last_stride(
    data: st.DataObject, dtype: str, shape: tuple[int, ...], order: str
) -> None:
    """Values, type, strides and ownership equal those of scikit-learn's own indexing."""
    X = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    X = np.repeat(X, 2, axis=0)[::2] if order == "steps" else np.array(X, order=order)
    rows = st.lists(st.integers(-len(X), len(X) - 1), min_size=1, max_size=8)
    split = (np.array(data.draw(rows)), np.array(data.draw(rows), dtype=np.int32))
    y = np.arange(len(X)) if data.draw(st.booleans()) else None
    expected = [OWN(part, i) for i in split for part in (X, y) if part is not None]
    got = taken(SplitSamples(X, y, [split]), TREE, X, y, split)
    parts = [part for pair in got for part in pair if part is not None]
    assert [layout(part) for part in parts] == [layout(part) for part in expected]
    for ours, theirs in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def split_of(count: int) -> tuple[Any, Any]:
    return next(iter(KFold(3).split(np.zeros(count))))


def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of arrays that scikit-learn's indexing is called with from now on."""
    calls: list[Any] = []

    def note(array: Any, *rest: Any, **named: Any) -> Any:
        calls.append(array)
        return OWN(array, *rest, **named)

    monkeypatch.setattr("skygrid.worker.evaluation.samples.safe_indexing", note)
    monkeypatch.setattr(metaestimators, "_safe_indexing", note)
    return calls


X = np.arange(36.0).reshape(12, 3)
Y = np.arange(12) % 2


def test_plain_arrays_need_no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-learn's indexing is not called for plain arrays."""
    calls, split = asked(monkeypatch), split_of(12)
    taken(SplitSamples(X, Y, [split]), TREE, X, Y, split)
    assert not calls


MASK = np.arange(12) < 6
OTHERS: dict[str, tuple[Any, Any, Any]] = {
    "a frame": (pd.DataFrame(X), Y, split_of(12)),
    "a series": (X, pd.Series(Y), split_of(12)),
    "a sparse matrix": (scipy.sparse.csr_matrix(X), Y, split_of(12)),
    "a list": (X.tolist(), Y, split_of(12)),
    "masks": (X, Y, (MASK, ~MASK)),
    "lists of rows": (X, Y, ([0, 1, 2, 3], [4, 5])),
    "no rows": (X, Y, (np.arange(6), np.array([], dtype=int))),
    "a subclass": (np.ma.masked_array(X), Y, split_of(12)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_data_takes_scikit_learns_way(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other containers and other kinds of rows use scikit-learn's indexing."""
    other, y, split = OTHERS[what]
    calls = asked(monkeypatch)
    taken(SplitSamples(other, y, [split]), TREE, other, y, split)
    assert len(calls) == 4


def test_missing_rows_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices beyond X raise scikit-learn's error."""
    calls, split = asked(monkeypatch), (np.arange(6), np.array([12]))
    with pytest.raises(IndexError, match="out of bounds"):
        taken(SplitSamples(X, Y, [split]), TREE, X, Y, split)
    assert calls


DISPATCHES = """
import numpy as np
import sklearn
from sklearn.utils import metaestimators
from skygrid.worker.evaluation.samples import SplitSamples

X, rows = np.zeros((4, 2)), (np.array([0, 1]), np.array([2]))
own = metaestimators._safe_indexing
for dispatch in (True, False):
    samples = SplitSamples(X, None, [rows])
    with sklearn.config_context(array_api_dispatch=dispatch), samples.unchecked(0):
        print(metaestimators._safe_indexing is own)
"""


def test_arrays_of_other_libraries() -> None:
    """With array API dispatch, scikit-learn's indexing is used."""
    # SciPy reads this variable when it is imported.
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-c", DISPATCHES]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("y", [Y, None])
def test_a_kernel_matrix_is_indexed_on_both_sides(y: Any) -> None:
    """If X is a matrix of its samples, its columns are selected too."""
    kernel, split = np.arange(144.0).reshape(12, 12), split_of(12)
    got = taken(SplitSamples(kernel, y, [split]), SVC(kernel="precomputed"), kernel, y, split)
    train, test = split
    np.testing.assert_array_equal(got[0][0], kernel[np.ix_(train, train)])
    np.testing.assert_array_equal(got[1][0], kernel[np.ix_(test, train)])
    assert metaestimators._safe_indexing is OWN


@pytest.mark.parametrize("y", [Y, None])
def test_a_searchs_own_indexing_is_restored_for_its_fit(y: Any) -> None:
    """Once a fit has its samples, scikit-learn's indexing is restored for searches inside."""
    split = split_of(12)
    samples = SplitSamples(X, y, [split])
    with samples.unchecked(0):
        _validation._safe_split(TREE, X, y, split[0])
        assert metaestimators._safe_indexing is not OWN
        _validation._safe_split(TREE, X, y, split[1], split[0])
        assert metaestimators._safe_indexing is OWN


def test_an_error_restores_scikit_learn() -> None:
    """A fit that fails before it takes its samples restores scikit-learn's indexing."""
    split = split_of(12)
    with pytest.raises(ZeroDivisionError), SplitSamples(X, Y, [split]).unchecked(0):
        raise ZeroDivisionError
    assert metaestimators._safe_indexing is OWN


class SearchesInside(ClassifierMixin, BaseEstimator):
    """Estimator whose own search fails while it takes its samples."""

    def fit(self, X: Any, y: Any) -> None:
        rows = np.array([len(X)])
        GridSearchCV(TREE, {"max_depth": [1]}, cv=[(rows, rows)], error_score="raise").fit(X, y)


def test_a_traceback_names_scikit_learn_alone() -> None:
    """The error of a search inside a fit has no frames of skygrid below that fit."""
    split = split_of(12)
    with SplitSamples(X, Y, [split]).unchecked(0):
        samples = _validation._safe_split(TREE, X, Y, split[0])
        _validation._safe_split(TREE, X, Y, split[1], split[0])
        with pytest.raises(IndexError) as caught:
            SearchesInside().fit(*samples)
    frames = traceback.extract_tb(caught.value.__traceback__)
    files = {Path(frame.filename).name for frame in frames}
    assert "metaestimators.py" in files
    assert "samples.py" not in files
