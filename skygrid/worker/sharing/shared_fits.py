"""Fits that answer several candidates, and fits that begin where another one has been.

Every candidate goes through scikit-learn's own code for one fit and its scores, with an estimator
whose `fit` takes over what is known already. When anything is not as expected, an error or a
warning that names this code among it, the result is thrown away and the candidate is fitted by
itself: what is reported is then scikit-learn's own, down to the text of a traceback.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from skygrid.worker.evaluation.evaluator import Evaluator, is_expected
from skygrid.worker.wire.messages import FitResult

from .group_fit import GroupFit
from .identity import uses_known_metrics
from .kept_steps import names_this_code
from .prefix_fit import PrefixFit
from .prefix_store import PrefixStore
from .repeated_scores import RepeatedScores
from .rules import Rule, rules


class SharedFits:
    """Evaluates candidates together, with the results that each would have had alone.

    Parameters
    ----------
    evaluator : Evaluator
    plan : mapping
        ``candidates``, ``splits``, ``groups``, a list of (members, name of the rule), and
        ``kept``, digests of the transformers that are worth keeping.
    folder : str, optional
        Where this node's slots keep what they share.
    """

    def __init__(self, evaluator: Evaluator, plan: Mapping[str, Any], folder: str | None) -> None:
        self._evaluator = evaluator
        self._kept: frozenset[str] = frozenset(plan.get("kept", ()))
        self._prefixes: Sequence[int] = plan.get("prefixes", ())
        known = uses_known_metrics(evaluator.scorer)
        self._scores = RepeatedScores(lambda: evaluator.noted) if known else None
        """Known metrics write into nothing they are given, so samples may be given twice."""

        self._folder = folder if self._kept and folder and os.path.isdir(folder) else None
        self._futile: set[int] = set()
        """Prefixes that turned out not to be worth keeping: on other splits they are the same."""

        self._rules: dict[int, tuple[str, int]] = {
            member: (rule, position)
            for members, rule in plan.get("groups", ())
            for position, member in enumerate(members)
        }

    def evaluate(
        self, lease: int, slot: int, members: Sequence[int], split: int
    ) -> Iterator[FitResult]:
        """Fit and score members of one group on one split; results come as they are ready.

        Parameters
        ----------
        lease, slot : int
            Copied into the results.
        members : sequence of int
            Candidates, all of one group or a single one.
        split : int

        Yields
        ------
        result : FitResult
            One for each member, in the order of the plan's group.
        """
        if len(members) > 1 and all(member in self._rules for member in members):
            yield from self._together(lease, slot, members, split)
            return
        for member in members:
            yield self._alone(lease, slot, member, split)

    def _together(
        self, lease: int, slot: int, members: Sequence[int], split: int
    ) -> Iterator[FitResult]:
        ordered = sorted(members, key=lambda member: self._rules[member][1])
        rule = rules()[self._rules[ordered[0]][0]]
        if self._scores is None:
            yield from self._answered(lease, slot, ordered, split, rule)
            return
        with self._evaluator.samples.asked_once():
            yield from self._answered(lease, slot, ordered, split, rule)
        if not self._evaluator.samples.kept:
            self._scores.forget()

    def _answered(
        self, lease: int, slot: int, members: Sequence[int], split: int, rule: Rule
    ) -> Iterator[FitResult]:
        store = self._store(split)
        group = GroupFit(rule, self._evaluator, store, self._kept, self._scores)
        evaluate, scorer = self._evaluator.evaluate, group.scorer
        first = evaluate(lease, slot, members[0], split, group.begin, scorer)
        if group.shared is None or _unexpected(first):
            for member in members:
                yield self._alone(lease, slot, member, split)
            return
        first = _with_taken(first, store)
        yield first
        for member in members[1:]:
            result = evaluate(lease, slot, member, split, group.answer, scorer)
            if _unexpected(result):
                yield self._alone(lease, slot, member, split)
            else:
                seconds = first.fit_seconds - group.spared_seconds
                yield msgspec.structs.replace(result, fit_seconds=seconds, answered=True)

    def _alone(self, lease: int, slot: int, member: int, split: int) -> FitResult:
        prefix = self._prefixes[member] if member < len(self._prefixes) else -1
        store = self._store(split) if prefix >= 0 and prefix not in self._futile else None
        if store is not None:
            fit = PrefixFit(self._evaluator, store, self._kept)
            result = self._evaluator.evaluate(lease, slot, member, split, fit.begin)
            if store.futile:
                self._futile.add(prefix)
            if not _unexpected(result):
                return _with_taken(result, store)
        return self._evaluator.evaluate(lease, slot, member, split)

    def _store(self, split: int) -> PrefixStore | None:
        return PrefixStore(self._folder, split) if self._folder is not None else None


def _with_taken(result: FitResult, store: PrefixStore | None) -> FitResult:
    """The result, with the time of the first steps that were taken from other fits."""
    if store is None or not store.taken_seconds:
        return result
    seconds = result.fit_seconds + store.taken_seconds
    return msgspec.structs.replace(result, fit_seconds=seconds, prefix_kept=True)


def _unexpected(result: FitResult) -> bool:
    """Whether a result may differ from that of a fit alone: texts name the code that was run."""
    return not is_expected(result) or any(map(names_this_code, result.warnings))
