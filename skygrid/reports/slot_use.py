"""How well the slots of a run were used: how busy they were, and how long its tail was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from skygrid.plan.records import Outcome


class SlotUse(msgspec.Struct, frozen=True, kw_only=True):
    """What slots did while rounds ran."""

    busy_share: float
    """Time that slots spent on fits, of all the time that they had; from 0 to 1."""

    tail_seconds: float
    """From the first slot that had nothing more to do to the end of its round, over all rounds."""


def slot_use(outcomes: Sequence[Outcome], slots: Mapping[str, int]) -> SlotUse | None:
    """Measure it by when outcomes arrived, and what slots spent on them.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Of one session: between sessions no slot was there to be used.
    slots : mapping of str to int
        Slots of each node, where that is known.

    Returns
    -------
    use : SlotUse or None
        None when no fit took any time.
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
    """Seconds that slots were busy, that they had, and of the tail."""
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
        # A slot that fitted nothing had nothing to do from the beginning.
        first_idle = min(first_idle, *ends.values(), *([begin] if there > len(ends) else []))
    busy = sum(one.busy_seconds for one in outcomes)
    return busy, count * (end - begin), end - first_idle
