"""The rounds of a search, determined without any fit."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone

from skygrid.plan.records import Outcome, RoundPlan
from skygrid.sklearn_search.driven_search import fit_search
from skygrid.sklearn_search.sklearn_private import decides_rounds
from skygrid.worker.evaluation.contents import SearchData, SearchWork


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The rounds of a search, as far as they are known before any fit."""

    data: SearchData
    work: SearchWork
    first: RoundPlan
    rounds: Sequence[tuple[int, int]]
    """(candidates, splits) of each round."""

    complete: bool
    """True if these are all rounds; a search class outside scikit-learn may ask for more."""

    @property
    def fits(self) -> int:
        """Number of fits in all known rounds."""
        return sum(candidates * splits for candidates, splits in self.rounds)


class _KnowsEnough(Exception):
    """Ends the search once its rounds are known, before anything is fitted."""


class _Listing:
    """A `RoundEvaluator` that notes rounds; every fit scores zero."""

    def __init__(self, *, to_the_end: bool) -> None:
        self.begun: tuple[SearchData, SearchWork] | None = None
        self.plans: list[RoundPlan] = []
        self._to_the_end = to_the_end

    def begin(self, data: SearchData, work: SearchWork) -> None:
        self.begun = data, work

    def refitting(self, results: Mapping[str, Any], *, last: bool) -> None:
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
    """Return the rounds of a search, which stays unfitted.

    The candidate counts of a halving search do not depend on scores, so it runs to its end with
    scores of zero. Of any other search only the first round is known.

    Raises
    ------
    Exception
        Any exception that ``search.fit`` would raise before its first fit.
    """
    complete = decides_rounds(type(search))
    listing = _Listing(to_the_end=complete and _halves(search))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unfitted = clone(search)
        if complete:
            unfitted.refit = False  # a user's refit function must not see scores of zero
        with contextlib.suppress(_KnowsEnough):  # ends the search after its listing
            fit_search(unfitted, X, y, fit_params, listing)
    assert listing.begun is not None
    data, work = listing.begun
    return Outline(
        data=data,
        work=work,
        first=listing.plans[0],
        rounds=[(len(plan.candidates), len(plan.splits)) for plan in listing.plans],
        complete=complete,
    )


def _halves(search: Any) -> bool:
    return any(kind.__name__ == "BaseSuccessiveHalving" for kind in type(search).__mro__)
