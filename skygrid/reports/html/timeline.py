"""The work of slots over time, in a limited number of stretches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from skygrid.plan.records import Outcome
from skygrid.reports.html.records import SlotLine, Stretch

MOST_STRETCHES = 4000
"""Maximum number of stretches in a page: more than a screen has pixels."""

_Fit = tuple[float, float, bool]
"""Arrival, duration, and whether the fit failed."""

_Stretched = tuple[float, float, bool]
"""Begin, end, and whether the fit failed."""


def slot_lines(outcomes: Sequence[Outcome], begin: float) -> tuple[SlotLine, ...]:
    """Return a line for each slot, by node and slot.

    Stretches with a small gap between them are joined, so that the page stays small.

    Parameters
    ----------
    outcomes : sequence of Outcome
    begin : float
        Start of the run, in seconds since the epoch.
    """
    fits: dict[tuple[str, int], list[_Fit]] = defaultdict(list)
    for one in outcomes:
        # Derived outcomes arrive with the fit that they come from, and take no time of the slot.
        if one.busy_seconds > 0:
            fits[one.node, one.slot].append(
                (one.finished_at - begin, one.busy_seconds, one.fit_error is not None)
            )
    if not fits:
        return ()
    lines = {slot: _in_sequence(line) for slot, line in fits.items()}
    first = min(line[0][0] for line in lines.values())
    last = max(line[-1][1] for line in lines.values())
    gap = (last - first) / max(1, MOST_STRETCHES // len(lines))
    few = sum(map(len, lines.values())) <= MOST_STRETCHES
    return tuple(
        SlotLine(
            node=node,
            slot=slot,
            stretches=tuple(_stretches(line, 0.0 if few else gap)),
            fits=len(line),
            busy_seconds=sum(end - start for start, end, _ in line),
        )
        for (node, slot), line in sorted(lines.items())
    )


def _in_sequence(fits: Sequence[_Fit]) -> list[_Stretched]:
    """Place the fits of a slot one after another: outcomes that arrived together ran in turn."""
    placed: list[_Stretched] = []
    later = math.inf
    for arrived, seconds, failed in sorted(fits, reverse=True):
        end = min(arrived, later)
        later = end - seconds
        placed.append((later, end, failed))
    return placed[::-1]


def _stretches(fits: Sequence[_Stretched], gap: float) -> Iterable[Stretch]:
    """Join fits that follow one another within `gap` seconds, or that are shorter than it."""
    begin, end, failed = fits[0]
    count, bad = 1, int(failed)
    for start, stop, failure in fits[1:]:
        if gap and start - end < gap and stop - begin < 4 * gap:
            end, count, bad = max(end, stop), count + 1, bad + failure
        else:
            yield Stretch(begin, end, count, bad)
            begin, end, count, bad = start, stop, 1, int(failure)
    yield Stretch(begin, end, count, bad)
