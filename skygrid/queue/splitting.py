"""Whether a group of candidates is taken apart for slots that have nothing to do: pure decisions.

What one fit answers is quickest to compute together, but by one slot alone. Taking a group apart
costs a further fit for each part; it is worth it when slots would idle and the parts end sooner.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate


@dataclass(frozen=True, kw_only=True)
class MemberSeconds:
    """What one member of a group takes."""

    fit: float
    """A fit of its own, up to the moment at which it can be scored."""

    score: float
    further: float = 0.0
    """What it takes beyond its scoring when another member's fit has come as far as its own."""


@dataclass(frozen=True, slots=True)
class _Together:
    """What one slot takes for some members: the longest fit, and what each adds to it."""

    fit: float
    """The longest one."""

    place: int
    """Whose it is: the first of the longest ones, whatever is added to what."""

    spared: float
    """What that member would take beyond its scoring after another's fit."""

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
    """What one slot takes for all of them, at least one: the longest fit, and what each adds."""
    return functools.reduce(operator.add, _each(members)).seconds


def seconds_left(members: Sequence[MemberSeconds], elapsed: float) -> float:
    """What is left of it when the slot has been at the first of them for so long."""
    return max(0.0, group_seconds(members) - elapsed)


@dataclass(frozen=True, kw_only=True)
class SplitPolicy:
    """When a group is taken apart."""

    share: float = 0.9
    """The parts must end within this share of what the group takes."""

    minimum_seconds: float = 0.5
    """They must end at least so much sooner: leases take a moment to be given and reported."""

    def sooner(self, parts: float, whole: float) -> bool:
        """Whether parts that end after so many seconds are worth it."""
        return parts < min(self.share * whole, whole - self.minimum_seconds)

    def parts(self, members: Sequence[MemberSeconds], slots: int) -> list[list[int]]:
        """Share a group that nobody has started out among idle slots.

        Parameters
        ----------
        members
            In the order in which they become ready.
        slots
            How many slots have nothing else to do, at least 1.

        Returns
        -------
        list of list of int
            Positions of members, at most `slots` parts, the longest part first; one part when it
            is best not to take the group apart. The two shortest together would be the longest.
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
        """Decide from where on an idle slot does members of a group that another slot runs.

        Parameters
        ----------
        members
            Those not reported yet, in the order in which they become ready; the first runs.
        elapsed
            Seconds since it began to run.
        fitted
            The fit that answers them is done: what is left there is what each adds to it.

        Returns
        -------
        int
            Position of the first member that the idle slot does; 0 when it is to do none.
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
    """The longest part first, short ones put together: each costs a fit, and must save time."""
    ordered = sorted(parts, key=lambda part: -part.seconds)
    while len(ordered) > 1:
        *others, one, other = ordered
        both = one.with_other(other)
        if both.seconds > span:
            break
        ordered = sorted([*others, both], key=lambda part: -part.seconds)
    return ordered


def _cheapest(parts: Sequence[_Part], one: _Together, span: float, *, room: bool) -> int | None:
    """The part that a member joins, None for a new one: a new one only where that ends sooner."""
    if not parts:
        return None
    ends = [(part.together + one).seconds for part in parts]
    best = min(range(len(parts)), key=ends.__getitem__)
    # The longest come first: by itself it takes no longer than the longest part does now.
    return None if room and ends[best] > span else best
