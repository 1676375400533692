"""How many fits a search asks for, found out without fitting anything."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone

from skygrid.plan.records import Outcome, RoundPlan
from skygrid.sklearn_search.driven_search import SearchWork, fit_search


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The rounds of a search as far as they are known before any fit."""

    work: SearchWork
    first: RoundPlan
    rounds: Sequence[tuple[int, int]]
    """(candidates, splits) of each round."""

    complete: bool
    """Whether these are all rounds; a search class that is not scikit-learn's may ask for more."""

    @property
    def fits(self) -> int:
        """Fits in all known rounds."""
        return sum(candidates * splits for candidates, splits in self.rounds)


class _KnowsEnough(Exception):
    """Unwinds the search once its rounds are known, before anything is fitted."""


class _Listing:
    """A `RoundEvaluator` that writes rounds down; every fit scores zero."""

    def __init__(self, *, to_the_end: bool) -> None:
        self.work: SearchWork | None = None
        self.plans: list[RoundPlan] = []
        self._to_the_end = to_the_end

    def begin(self, work: SearchWork) -> None:
        self.work = work

    def refitting(self, *, last: bool) -> None:
        raise _KnowsEnough

    def evaluate(self, plan: RoundPlan) -> tuple[RoundPlan, Sequence[Outcome]]:
        self.plans.append(plan)
        if not self._to_the_end:
            raise _KnowsEnough
        return plan, [
            Outcome(
                round=plan.round,
                candidate=candidate,
                split=split,
                status="scored",
                node="",
                slot=0,
                test_scores=0.0,
                train_scores=0.0,
            )
            for candidate in range(len(plan.candidates))
            for split in range(len(plan.splits))
        ]


def outline(search: Any, X: Any, y: Any, fit_params: Mapping[str, Any]) -> Outline:
    """Write down the rounds of a search.

    The number of candidates in each round of a halving search does not depend on the scores, so
    it is driven to its end with made-up ones; of any other search the first round is taken.

    Parameters
    ----------
    search : BaseSearchCV
        Stays unfitted.
    X, y, fit_params
        As for ``search.fit``.

    Returns
    -------
    outline : Outline

    Raises
    ------
    Exception
        Whatever ``search.fit`` would raise before its first fit.
    """
    complete = _is_scikit_learns(search)
    listing = _Listing(to_the_end=complete and _halves(search))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unfitted = clone(search)
        if complete:
            unfitted.refit = False  # made-up scores are not for a refit function of the user's
        with contextlib.suppress(_KnowsEnough):
            fit_search(unfitted, X, y, fit_params, listing)
    assert listing.work is not None
    return Outline(
        work=listing.work,
        first=listing.plans[0],
        rounds=[(len(plan.candidates), len(plan.splits)) for plan in listing.plans],
        complete=complete,
    )


def _is_scikit_learns(search: Any) -> bool:
    """Whether scikit-learn's own methods decide which rounds there are."""
    kind = type(search)
    return all(method.__module__.startswith("sklearn.") for method in (kind.fit, kind._run_search))


def _halves(search: Any) -> bool:
    return any(kind.__name__ == "BaseSuccessiveHalving" for kind in type(search).__mro__)
