"""Decisions to divide a group of candidates between idle slots. Pure.

One fit for all members takes the least work, but occupies one slot. Each further part costs a
further fit, which pays when slots would idle and the parts end sooner.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate


@dataclass(frozen=True, kw_only=True)
class MemberSeconds:
    """Times of one member of a group, in seconds."""

    fit: float
    """A separate fit, until it can be scored."""

    score: float
    further: float = 0.0
    """Extra time, besides scoring, after another member's fit has reached this one's state."""


@dataclass(frozen=True, slots=True)
class _Together:
    """Time of some members in one slot: the longest fit, and the additions of each."""

    fit: float
    """The longest fit."""

    place: int
    """Position of the member with the longest fit, the first one if several are equally long."""

    spared: float
    """`MemberSeconds.further` of that member, which its own fit saves."""

    further: float
    score: float

    @property
    def seconds(self) -> float:
        return self.fit + (self.further - self.spared) + self.score

    def __add__(self, other: _Together) -> _Together:
        longest = min(self, other, key=lambda one: (-one.fit, one.place))
        return _Together(
            longest.fit,
            longest.place,
            longest.spared,
            self.further + other.further,
            self.score + other.score,
        )


def _each(members: Sequence[MemberSeconds]) -> list[_Together]:
    return [
        _Together(one.fit, place, one.further, one.further, one.score)
        for place, one in enumerate(members)
    ]


def group_seconds(members: Sequence[MemberSeconds]) -> float:
    """Return the seconds that one slot takes for all members; at least one."""
    return functools.reduce(operator.add, _each(members)).seconds


@dataclass(frozen=True, kw_only=True)
class SplitPolicy:
    """Conditions for dividing a group."""

    share: float = 0.9
    """The parts must end within this share of the whole group's time."""

    minimum_seconds: float = 0.5
    """Minimum gain in seconds: leasing and reporting take a moment too."""

    def sooner(self, parts: float, whole: float) -> bool:
        """Return whether it pays that the parts end after `parts` seconds instead of `whole`."""
        return parts < min(self.share * whole, whole - self.minimum_seconds)

    def parts(self, members: Sequence[MemberSeconds], slots: int) -> list[list[int]]:
        """Divide a group that has not started between `slots` idle slots.

        Returns
        -------
        list of list of int
            Positions of members, the longest part first; a single part if dividing does not pay.
            The two shortest parts together would take longer than the longest.
        """
        each = _each(members)
        together = [_Part([*range(len(members))], functools.reduce(operator.add, each))]
        if not self.sooner(0.0, together[0].seconds):
            return [together[0].places]
        parts: list[_Part] = []
        span = 0.0
        for at in sorted(together[0].places, key=lambda at: -(members[at].fit + members[at].score)):
            best = _cheapest(parts, each[at], span, room=len(parts) < slots)
            own = _Part([at], each[at])
            if best is None:
                parts.append(own)
            else:
                own = parts[best] = parts[best].with_other(own)
            span = max(span, own.seconds)
        parts = _without_spare(parts, span)
        if len(parts) == 1 or not self.sooner(span, together[0].seconds):
            parts = together
        return [sorted(part.places) for part in parts]

    def tail(self, members: Sequence[MemberSeconds], elapsed: float, *, fitted: bool) -> int:
        """Choose the members of a running group that an idle slot takes over.

        Parameters
        ----------
        members
            Those not reported yet, in the order in which they become ready; the first runs.
        elapsed
            Seconds since it began to run.
        fitted
            The shared fit is done; each member only adds its own time.

        Returns
        -------
        int
            Position of the first member to take; 0 for none.
        """
        here = [replace(member, fit=0.0) for member in members] if fitted else members
        kept = list(accumulate(_each(here)))
        taken = list(accumulate(reversed(_each(members))))
        whole = max(0.0, kept[-1].seconds - elapsed)
        best, span = 0, whole
        for cut in range(1, len(members)):
            end = max(kept[cut - 1].seconds - elapsed, taken[len(members) - cut - 1].seconds)
            if end < span:
                best, span = cut, end
        return best if best and self.sooner(span, whole) else 0


@dataclass(frozen=True, slots=True)
class _Part:
    places: list[int]
    together: _Together

    @property
    def seconds(self) -> float:
        return self.together.seconds

    def with_other(self, other: _Part) -> _Part:
        return _Part([*self.places, *other.places], self.together + other.together)


def _without_spare(parts: Sequence[_Part], span: float) -> list[_Part]:
    """Merge the shortest parts while that does not lengthen the span: each part costs a fit."""
    ordered = sorted(parts, key=lambda part: -part.seconds)
    while len(ordered) > 1:
        *others, one, other = ordered
        both = one.with_other(other)
        if both.seconds > span:
            break
        ordered = sorted([*others, both], key=lambda part: -part.seconds)
    return ordered


def _cheapest(parts: Sequence[_Part], one: _Together, span: float, *, room: bool) -> int | None:
    """Return the part that a member joins, None for a new part."""
    if not parts:
        return None
    ends = [(part.together + one).seconds for part in parts]
    best = min(range(len(parts)), key=ends.__getitem__)
    # Members come longest first, so a new part takes no longer than the longest part does now.
    return None if room and ends[best] > span else best
