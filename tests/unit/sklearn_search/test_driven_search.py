"""A search's own ``fit`` gets its rounds from an evaluator, which is notified of their end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from sklearn.model_selection import GridSearchCV

from skygrid.plan.records import Outcome, RoundPlan
from skygrid.sklearn_search.driven_search import fit_search
from skygrid.worker.evaluation.contents import SearchData, SearchWork
from tests.acceptance.doubles import ThresholdClassifier
from tests.acceptance.searches import flowers
from tests.processes import WAIT_SECONDS

GRID = {"level": [1, 2]}


class Zeros:
    """Evaluator that scores each fit zero and records its calls."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.begun: list[SearchData] = []
        self.rounds: list[int] = []
        self.last: list[bool] = []
        self._meanwhile = meanwhile

    def begin(self, data: SearchData, work: SearchWork) -> None:
        self.begun.append(data)

    def refitting(self, results: Mapping[str, Any], *, last: bool) -> None:
        self.last.append(last)

    def evaluate(self, plan: RoundPlan) -> tuple[RoundPlan, Sequence[Outcome]]:
        self.rounds.append(plan.round)
        self._meanwhile()
        return plan, [
            Outcome(
                round=plan.round,
                candidate=task // len(plan.splits),
                split=task % len(plan.splits),
                status="scored",
                node="",
                slot=0,
                test_scores=0.0,
            )
            for task in range(plan.n_tasks)
        ]


class FitsTwice(GridSearchCV):
    """Search that fits half of the samples first, and then all of them."""

    def fit(self, X: Any, y: Any = None) -> Any:
        super().fit(X[::2], y[::2])
        return super().fit(X, y)


def search(kind: type[GridSearchCV] = GridSearchCV) -> Any:
    return kind(ThresholdClassifier(), GRID, cv=2)


def test_the_rounds_of_a_search_are_over_before_its_refit() -> None:
    """The evaluator is notified of the last refit, so that it can release its nodes."""
    zeros = Zeros()
    fit_search(search(), *flowers(), {}, zeros)
    assert (zeros.rounds, zeros.last) == ([0], [True])


def test_a_search_that_fits_twice_keeps_its_nodes() -> None:
    """Rounds of a second fit have their own numbers and data, and no refit counts as the last."""
    zeros = Zeros()
    fit_search(search(FitsTwice), *flowers(), {}, zeros)
    assert (zeros.rounds, zeros.last) == ([0, 1], [False, False])
    assert [len(data.X) for data in zeros.begun] == [25, 50]


def test_two_threads_drive_two_searches() -> None:
    """Two simultaneous searches get the outcomes of their own evaluators."""
    both = threading.Barrier(2)
    evaluators = [Zeros(lambda: both.wait(WAIT_SECONDS)) for _ in range(2)]
    threads = [
        threading.Thread(target=fit_search, args=(search(), *flowers(), {}, zeros))
        for zeros in evaluators
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [zeros.rounds for zeros in evaluators] == [[0], [0]]


def test_two_threads_drive_one_search() -> None:
    """After two overlapping fits of one search, neither evaluator drives it any longer."""
    one = search()
    first_began, second_began, first_ended = (threading.Event() for _ in range(3))

    def in_first() -> None:
        first_began.set()
        second_began.wait(WAIT_SECONDS)

    def in_second() -> None:
        second_began.set()
        first_ended.wait(WAIT_SECONDS)

    def first() -> None:
        fit_search(one, *flowers(), {}, Zeros(in_first))
        first_ended.set()

    thread = threading.Thread(target=first)
    thread.start()
    first_began.wait(WAIT_SECONDS)
    fit_search(one, *flowers(), {}, Zeros(in_second))
    thread.join()
    assert one.fit(*flowers()).best_score_ > 0


def test_a_search_may_be_fitted_within_its_own_round() -> None:
    """A search that is fitted within its own round continues with its evaluator afterwards."""
    X, y = flowers()
    one, inner = search(), Zeros()

    def meanwhile() -> None:
        fit_search(one, X, y, {}, inner)

    outer = Zeros(meanwhile)
    fit_search(one, X, y, {}, outer)
    assert (outer.rounds, outer.last, inner.rounds, inner.last) == ([0], [True], [0], [True])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_scikit_learn_fits_the_search(error: type[BaseException]) -> None:
    """After an error of the evaluator, scikit-learn fits the same search."""

    def fail() -> None:
        raise error

    one, zeros = search(), Zeros(fail)
    with pytest.raises(error):
        fit_search(one, *flowers(), {}, zeros)
    assert one.fit(*flowers()).best_score_ > 0
    assert zeros.rounds == [0]
