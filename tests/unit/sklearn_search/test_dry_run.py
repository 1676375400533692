"""The rounds of a search are found without fitting."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.model_selection._search import BaseSearchCV

from skygrid.sklearn_search.dry_run import Outline, outline
from tests.acceptance.doubles import DoublingSearch, ThresholdClassifier, TwoRounds, two_scores
from tests.acceptance.searches import flowers


class Unfittable(ThresholdClassifier):
    """Estimator that must not be fitted."""

    def fit(self, X: Any, y: Any) -> Any:
        raise AssertionError("an outline fits nothing")


class WithoutRefit(BaseSearchCV):
    """Search without a parameter ``refit``."""

    def __init__(self, estimator: Any) -> None:
        super().__init__(estimator, cv=3)

    def _run_search(self, evaluate_candidates: Any) -> None:
        evaluate_candidates([{"level": 1}])


class RefitByProperty(WithoutRefit):
    """Search whose ``refit`` is a property."""

    refit = property(lambda self: "score", lambda self, value: None)


class HalvingOfOnesOwn(HalvingGridSearchCV):
    """Halving search that reads its scores afterwards."""

    def _run_search(self, evaluate_candidates: Any, callback_ctx: Any = None) -> None:
        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}
        super()._run_search(evaluate_candidates, **context)
        raise AssertionError("made-up scores are not for the user's code")


GRID = {"level": [1, 2, 3]}


def of(search: Any) -> Outline:
    return outline(search, *flowers(), {})


def no_choice(results: Any) -> int:
    raise AssertionError("made-up scores are not for a refit function")


@pytest.mark.parametrize("kind", [WithoutRefit, RefitByProperty])
def test_a_search_without_the_parameter_refit(kind: Any) -> None:
    """A search class without a parameter refit is outlined like any other."""
    known = of(kind(Unfittable()))
    assert (known.rounds, known.complete) == ([(1, 3)], False)


def test_rounds_of_scikit_learns_classes_are_complete() -> None:
    """All rounds of a grid and of halving are found, also of a subclass without methods."""

    class Renamed(GridSearchCV):
        pass

    assert of(Renamed(Unfittable(), GRID, cv=3)).complete
    halving = of(HalvingGridSearchCV(Unfittable(), GRID, cv=3, refit=no_choice, min_resources=12))
    assert (halving.rounds, halving.complete) == ([(3, 3), (1, 3)], True)


@pytest.mark.parametrize(
    "search",
    [
        TwoRounds(Unfittable(), [1, 2, 3], cv=3, scoring=two_scores, refit="share"),
        DoublingSearch(Unfittable(), GRID, cv=3),
        HalvingOfOnesOwn(Unfittable(), GRID, cv=3, min_resources=12),
    ],
    ids=lambda search: type(search).__name__,
)
def test_rounds_of_a_users_class_are_open(search: Any) -> None:
    """Of a class with its own methods the first round is found, and others may follow."""
    known = of(search)
    assert (known.rounds, known.complete) == ([(3, 3)], False)
