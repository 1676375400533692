"""Utilisation of a run's slots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from skygrid.plan.records import Outcome


class SlotUse(msgspec.Struct, frozen=True, kw_only=True):
    """Utilisation of slots during rounds."""

    busy_share: float
    """Share of slot time spent on fits, from 0 to 1."""

    tail_seconds: float
    """Seconds from the first idle slot to the end of its round, summed over rounds."""


def slot_use(outcomes: Sequence[Outcome], slots: Mapping[str, int]) -> SlotUse | None:
    """Return the utilisation, from arrival and slot times of outcomes.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Outcomes of one session.
    slots : mapping of str to int
        Known numbers of slots by node.

    Returns
    -------
    use : SlotUse or None
        None if no fit took any time.
    """
    rounds: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rounds[outcome.round].append(outcome)
    measured = [_one_round(one, slots) for one in rounds.values()]
    capacity = sum(one[1] for one in measured)
    if capacity <= 0:
        return None
    busy = sum(one[0] for one in measured)
    return SlotUse(
        busy_share=min(1.0, busy / capacity), tail_seconds=sum(one[2] for one in measured)
    )


def _one_round(outcomes: Sequence[Outcome], slots: Mapping[str, int]) -> tuple[float, float, float]:
    """Return the seconds of busy slots, of all slots, and of the idle tail."""
    begin = min(one.finished_at - one.busy_seconds for one in outcomes)
    end = max(one.finished_at for one in outcomes)
    last: dict[str, dict[int, float]] = defaultdict(dict)
    for one in outcomes:
        node = last[one.node]
        node[one.slot] = max(node.get(one.slot, begin), one.finished_at)
    count, first_idle = 0, end
    for name, ends in last.items():
        there = max(slots.get(name, 0), len(ends))
        count += there
        # A slot without any fit was idle from the start.
        first_idle = min(first_idle, *ends.values(), *([begin] if there > len(ends) else []))
    busy = sum(one.busy_seconds for one in outcomes)
    return busy, count * (end - begin), end - first_idle
