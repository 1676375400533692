"""Numbers of requested, run and shared fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from skygrid.plan.records import Outcome
from skygrid.worker.evaluation.contents import Sharing


class SharedWork(msgspec.Struct, frozen=True, kw_only=True):
    """Fits by the way in which their outcome was obtained."""

    asked: int = 0
    """Candidates x splits."""

    run: int = 0
    """Fits that were run."""

    answered: int = 0
    """Fits derived from a fit that was run for another candidate."""

    answering: int = 0
    """Part of `run` from which others were derived."""

    begun: int = 0
    """Part of `run` whose pipeline reused the first steps of another fit."""


def shared_work(outcomes: Sequence[Outcome]) -> SharedWork:
    """Count the shared work in these outcomes."""
    answered = [one for one in outcomes if one.answered_by >= 0]
    return SharedWork(
        asked=len(outcomes),
        run=len(outcomes) - len(answered),
        answered=len(answered),
        answering=len({(one.round, one.answered_by, one.split) for one in answered}),
        begun=sum(one.prefix_kept for one in outcomes if one.answered_by < 0),
    )


def planned_sharing(sharing: Sharing, candidates: int, splits: int) -> SharedWork:
    """Estimate the shared work of a round.

    Dying slots, and groups split for idle slots, reduce it.
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
    """Return ``105 fits: 60 run, 45 derived from shared fits``; empty if nothing is shared."""
    parts = []
    if work.answered:
        parts.append(f"{work.asked} fits: {work.run} run")
        parts.append(f"{work.answered} derived from shared fits")
    elif work.begun:
        parts.append(f"{work.asked} fits")
    if work.begun:
        parts.append(f"{work.begun} with shared first steps")
    return ", ".join(parts)
