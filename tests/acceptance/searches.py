"""Searches that scikit-learn and skygrid both fit, and the comparison of the two answers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import sklearn
from sklearn.datasets import load_diabetes, load_iris
from threadpoolctl import threadpool_limits

from tests.acceptance.sameness import differences

METHODS = ("predict", "predict_proba", "decision_function", "transform", "score_samples")

BY_CHANCE = {(RuntimeWarning, "invalid value encountered in cast")}
"""Warnings of scikit-learn before 1.6 that depend on uninitialised memory:
it makes the masked array of an integer parameter from an empty array of floats.
"""


@dataclass(frozen=True)
class Job:
    """A search with its data, made anew for each of the two fits."""

    search: Any
    X: Any
    y: Any = None
    fit_params: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    """Settings for `sklearn.config_context`."""

    filters: Sequence[tuple[Any, ...]] = ()
    """Arguments of `warnings.simplefilter`, applied after "always"."""


@dataclass(frozen=True)
class Row:
    """One row of a table of searches."""

    name: str
    promise: str
    make: Callable[[], Job]


def rows(**table: tuple[str, Callable[[], Job]]) -> pytest.MarkDecorator:
    """Parametrize a test with ``name=(promise, function that makes the job)``."""
    made = [Row(name, promise, make) for name, (promise, make) in table.items()]
    return pytest.mark.parametrize("row", made, ids=[row.name for row in made])


@dataclass(frozen=True)
class Answer:
    """Everything that the user sees of a fit."""

    search: Any
    error: tuple[type, str] | None
    said: set[tuple[type, str]]
    """Category and text of each warning, once."""

    predicted: Mapping[str, Any]


def answer_of(make: Callable[[], Job], fit: Callable[[Job], Any]) -> Answer:
    """Fit a new job and return its result, error, warnings and predictions."""
    job = make()
    error = None
    with _surroundings(job) as said:
        try:
            fit(job)
        except Exception as raised:
            error = type(raised), text_of(raised)
    return Answer(
        search=job.search,
        error=error,
        said={(note.category, text_of(note.message)) for note in said if _counts(note)} - BY_CHANCE,
        predicted={} if error else predictions(make, job.search),
    )


def _counts(note: warnings.WarningMessage) -> bool:
    """Return whether a warning belongs to the search: a file left open by another test does not."""
    return note.category is not ResourceWarning


def text_of(said: Any) -> str:
    """Return the text of an exception or a warning, without memory addresses."""
    return re.sub(r" at 0x[0-9a-f]+", " at its address", str(said))


@contextmanager
def _surroundings(job: Job) -> Iterator[list[warnings.WarningMessage]]:
    """Apply the job's settings, with one BLAS thread as in a slot."""
    with (
        threadpool_limits(1),
        sklearn.config_context(**job.config),
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        # As is Python's default: files that earlier tests left open are found at any time.
        warnings.simplefilter("ignore", ResourceWarning)
        for rule in job.filters:
            warnings.simplefilter(*rule)
        yield said


def predictions(make: Callable[[], Job], search: Any) -> dict[str, Any]:
    """Return the output of each prediction method for X, by name."""
    said: dict[str, Any] = {}
    job = make()
    with _surroundings(job):
        for name in METHODS:
            if hasattr(search, name):
                said[name] = _outcome(getattr(search, name), make().X)
        for name in ("classes_", "n_features_in_"):
            if hasattr(search, name):
                said[name] = getattr(search, name)
    return said


def _outcome(method: Callable[[Any], Any], X: Any) -> Any:
    try:
        return method(X)
    except Exception as error:
        return type(error), text_of(error)


def by_sklearn(job: Job) -> None:
    """Fit with scikit-learn."""
    job.search.fit(job.X, job.y, **job.fit_params)


def by_skygrid(cluster: Any) -> Callable[[Job], None]:
    """Return a function that fits on the cluster."""

    def fit(job: Job) -> None:
        assert cluster.fit(job.search, job.X, job.y, **job.fit_params) is job.search

    return fit


def assert_same_answer(cluster: Any, row: Row, capfd: Any) -> Answer:
    """Fit a row's search with both, and check that only times differ."""
    theirs = answer_of(row.make, by_sklearn)
    capfd.readouterr()
    ours = answer_of(row.make, by_skygrid(cluster))
    printed = capfd.readouterr().out
    found = [] if ours.error == theirs.error else [f"{ours.error} raised, not {theirs.error}"]
    found += [f"said by skygrid alone: {note}" for note in ours.said - theirs.said]
    found += [f"said by scikit-learn alone: {note}" for note in theirs.said - ours.said]
    found += differences(ours.search, theirs.search, "search")
    found += differences(ours.predicted, theirs.predicted, "predicted")
    assert not found, "\n".join([row.promise, *found[:20]])
    assert printed == "", "stdout is for results"
    return theirs


def flowers() -> tuple[Any, Any]:
    """Return 50 samples of 4 features in 3 classes."""
    X, y = load_iris(return_X_y=True)
    return X[::3].copy(), y[::3].copy()


def patients() -> tuple[Any, Any]:
    """Return 60 samples of 10 features with a numeric target."""
    X, y = load_diabetes(return_X_y=True)
    return X[:60].copy(), y[:60].copy()
