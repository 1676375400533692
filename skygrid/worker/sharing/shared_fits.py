"""Evaluation of candidates that share fits or the first steps of a pipeline.

scikit-learn's own code fits and scores every candidate, on an estimator whose `fit` reuses known
results. If an unexpected error occurs, or a warning names skygrid's code, the result is discarded
and the candidate is fitted separately, so that results are scikit-learn's own down to the text of a
traceback.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec

from skygrid.worker.evaluation.contents import Sharing
from skygrid.worker.evaluation.evaluator import Evaluator, is_expected
from skygrid.worker.wire.messages.results import FitResult

from .group_fit import GroupFit
from .identity import uses_known_metrics
from .kept_steps import names_this_code
from .prefix_fit import PrefixFit
from .prefix_store import PrefixStore
from .repeated_scores import RepeatedScores
from .rules import Rule, rules


class SharedFits:
    """Evaluator of candidates together, with the results that separate fits would give.

    Parameters
    ----------
    evaluator : Evaluator
    sharing : Sharing
        Work that fits of the round share.
    folder : str, optional
        Folder that this node's slots share.
    """

    def __init__(self, evaluator: Evaluator, sharing: Sharing, folder: str | None) -> None:
        self._evaluator = evaluator
        self._kept, self._prefixes = sharing.kept, sharing.prefixes
        known = uses_known_metrics(evaluator.scorer)
        self._scores = RepeatedScores(lambda: evaluator.noted) if known else None
        """Set only for known metrics, which do not modify their input, so that samples can be
        reused."""

        self._folder = folder if self._kept and folder and os.path.isdir(folder) else None
        self._futile: set[int] = set()
        """Prefixes that were not worth keeping on one split; they are not kept on the others."""

        self._rules: dict[int, tuple[str, int]] = {
            member: (group.rule, position)
            for group in sharing.groups
            for position, member in enumerate(group.members)
        }

    def evaluate(
        self, lease: int, slot: int, members: Sequence[int], split: int
    ) -> Iterator[FitResult]:
        """Fit and score members of one group on one split.

        Parameters
        ----------
        lease, slot : int
            Copied into the results.
        members : sequence of int
            Candidates of one group, or a single candidate.
        split : int

        Yields
        ------
        result : FitResult
            One for each member as it is ready, in the order of the plan's group.
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
        samples = self._evaluator.samples_of(split)
        with samples.asked_once():
            yield from self._answered(lease, slot, ordered, split, rule)
        if not samples.kept:
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
    """Return the result with the time of its reused first steps added."""
    if store is None or not store.taken_seconds:
        return result
    seconds = result.fit_seconds + store.taken_seconds
    return msgspec.structs.replace(result, fit_seconds=seconds, prefix_kept=True)


def _unexpected(result: FitResult) -> bool:
    """Return True if a separate fit may give another result: tracebacks and warnings name the code
    that ran."""
    return not is_expected(result) or any(map(names_this_code, result.warnings))
