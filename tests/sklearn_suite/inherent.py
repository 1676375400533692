"""Tests of scikit-learn's suites that cannot pass on nodes, each with the reason."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

import pytest

from skygrid.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One inherent difference and the tests that show it."""

    tests: str
    """A pattern (`fnmatch`) for the names of the tests, their parameters included."""

    reason: str
    raises: tuple[type[BaseException], ...] = (AssertionError,)
    """Errors of the tests; any other error is a fault of skygrid."""

    always: bool = True
    """True if the tests fail in each run; the suite then fails if one of them passes."""


_CALLBACKS = (
    "A callback is called in the fitting process and shares its state with the caller. "
    "skygrid refuses a search that carries callbacks before anything is fitted."
)
_COPIES = (
    "The test reads {} after the search. Fits on nodes change copies of their own, "
    "as fits in processes of loky do."
)

INHERENT = (
    Difference(
        tests="test_search_callbacks_with_partial_fit_failures",
        reason=_CALLBACKS,
        # `pytest.warns` replaces the error of a block that issued no warning.
        raises=(UsageError, pytest.fail.Exception),
    ),
    Difference(tests="test_search_callbacks_*", reason=_CALLBACKS, raises=(UsageError,)),
    Difference(
        tests="test_search_cv_verbose_3*",
        reason="Lines that a fit prints, such as '[CV 1/3] END', are in the node's log, "
        "not on the caller's stdout.",
    ),
    Difference(
        tests="test_multi_metric_search_forwards_metadata*",
        reason=_COPIES.format("a registry that scorers enter themselves in"),
    ),
    Difference(
        tests="test_base_estimator_inputs*",
        reason=_COPIES.format("lists that the estimator appends its calls to"),
    ),
    Difference(
        tests="test_cv_results[[]Halving*",
        reason="The scorer draws from a random generator of the test. Each slot has a copy, "
        "like each process of loky. The copies draw the same numbers, so mean scores may tie.",
        always=False,
    ),
)
"""The first difference that matches a test is used."""


def difference_of(test: str) -> Difference | None:
    """Return the inherent difference that a test shows."""
    matching = (known for known in INHERENT if fnmatch.fnmatchcase(test, known.tests))
    return next(matching, None)
