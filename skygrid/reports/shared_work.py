"""How many fits were asked for, and how many of them were really run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from skygrid.plan.records import Outcome, Sharing


class SharedWork(msgspec.Struct, frozen=True, kw_only=True):
    """Fits that were asked for, and what became of each."""

    asked: int = 0
    """Candidates x splits."""

    run: int = 0
    """Fits of their own."""

    answered: int = 0
    """The others: each was answered by a fit that was run for another candidate."""

    answering: int = 0
    """Of `run`, the fits that answered others."""

    begun: int = 0
    """Of `run`, fits whose pipeline began where another one's first steps had been kept."""


def shared_work(outcomes: Sequence[Outcome]) -> SharedWork:
    """Count what was shared among these outcomes."""
    answered = [one for one in outcomes if one.answered_by >= 0]
    return SharedWork(
        asked=len(outcomes),
        run=len(outcomes) - len(answered),
        answered=len(answered),
        answering=len({(one.round, one.answered_by, one.split) for one in answered}),
        begun=sum(one.prefix_kept for one in outcomes if one.answered_by < 0),
    )


def planned_sharing(sharing: Sharing, candidates: int, splits: int) -> SharedWork:
    """Count what will be shared in a round of so many candidates and splits.

    A fit whose slot dies, and a group that is taken apart for idle slots, make it less.
    """
    spared = {member for group in sharing.groups for member in group.members[1:]}
    prefixes = Counter(
        prefix
        for candidate, prefix in enumerate(sharing.prefixes)
        if prefix >= 0 and candidate not in spared
    )
    return SharedWork(
        asked=candidates * splits,
        run=(candidates - len(spared)) * splits,
        answered=len(spared) * splits,
        answering=len(sharing.groups) * splits,
        begun=sum(count - 1 for count in prefixes.values()) * splits,
    )


def shared_text(work: SharedWork) -> str:
    """``105 fits asked, 60 run, 45 answered by 15 of them``; empty when nothing is shared."""
    parts = []
    if work.answered:
        parts.append(f"{work.asked} fits asked, {work.run} run")
        parts.append(f"{work.answered} answered by {work.answering} of them")
    elif work.begun:
        parts.append(f"{work.asked} fits")
    if work.begun:
        parts.append(f"{work.begun} begun with first steps that another had left")
    return ", ".join(parts)
