"""Rounds of several searches as one round: the inner searches of a nested cross-validation.

Pure. Each search has data of its own. In the joint round the splits of all searches stand side by
side; searches with the same candidates share their numbers, the others have numbers of their own. A
task that belongs to no search is none: it counts as ended from the beginning.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from skygrid.plan.records import Outcome, RoundPlan
from skygrid.worker.evaluation.contents import Group, Sharing


@dataclass(frozen=True, kw_only=True)
class Member:
    """The round of one search within a joint round."""

    plan: RoundPlan
    first_candidate: int
    """Number of its first candidate in the joint round."""

    first_split: int
    """Number of its first split in the joint round."""

    def has(self, candidate: int, split: int) -> bool:
        """Return whether a task of the joint round is this search's."""
        return 0 <= candidate - self.first_candidate < len(
            self.plan.candidates
        ) and 0 <= split - self.first_split < len(self.plan.splits)

    def own(self, outcome: Outcome) -> Outcome:
        """Return an outcome of the joint round with the numbers of this search."""
        answered = outcome.answered_by
        return msgspec.structs.replace(
            outcome,
            round=self.plan.round,
            candidate=outcome.candidate - self.first_candidate,
            split=outcome.split - self.first_split,
            answered_by=answered if answered < 0 else answered - self.first_candidate,
        )


@dataclass(frozen=True, kw_only=True)
class JointRound:
    """Rounds of several searches as one."""

    plan: RoundPlan
    members: tuple[Member, ...]
    """In the order of the searches."""

    def owner(self, split: int) -> int:
        """Return the number of the search that a split belongs to."""
        return self.plan.parts[split]

    def foreign_tasks(self) -> Iterator[tuple[int, int]]:
        """Yield each candidate and split that belong to different searches."""
        for split, owner in enumerate(self.plan.parts):
            member = self.members[owner]
            for candidate in range(len(self.plan.candidates)):
                if not member.has(candidate, split):
                    yield candidate, split


def join(plans: Sequence[RoundPlan], keys: Sequence[Hashable]) -> JointRound:
    """Join the rounds of several searches, whose scores have the same form.

    Parameters
    ----------
    plans : sequence of RoundPlan
        At least one.
    keys : sequence of hashable
        Equal for searches with the same candidates.
    """
    places: dict[Hashable, int] = {}
    members: list[Member] = []
    whole = replace(plans[0], round=0, candidates=(), splits=(), sharing=Sharing(), parts=())
    for number, (plan, key) in enumerate(zip(plans, keys, strict=True)):
        # Candidates whose fits share other work in this search have numbers of their own.
        place = (key, plan.sharing)
        if place not in places:
            places[place] = len(whole.candidates)
            whole = replace(
                whole,
                sharing=_joined(whole.sharing, len(whole.candidates), plan),
                candidates=[*whole.candidates, *plan.candidates],
            )
        members.append(
            Member(plan=plan, first_candidate=places[place], first_split=len(whole.splits))
        )
        whole = replace(
            whole,
            splits=[*whole.splits, *plan.splits],
            parts=(*whole.parts, *(number for _ in plan.splits)),
        )
    return JointRound(plan=whole, members=tuple(members))


def _joined(before: Sharing, count: int, plan: RoundPlan) -> Sharing:
    """Return the sharing of `count` candidates with that of a further search."""
    added = plan.sharing
    groups = (
        Group(members=tuple(count + one for one in group.members), rule=group.rule)
        for group in added.groups
    )
    known = max(before.prefixes, default=-1) + 1
    prefixes = (
        *(before.prefixes or (-1,) * count),
        *(
            known + one if one >= 0 else -1
            for one in added.prefixes or (-1,) * len(plan.candidates)
        ),
    )
    return Sharing(
        groups=(*before.groups, *groups),
        prefixes=prefixes if max(prefixes, default=-1) >= 0 else (),
        kept=before.kept | added.kept,
    )
