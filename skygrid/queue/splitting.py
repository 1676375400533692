"""Whether a group of candidates is taken apart for slots that have nothing to do: pure decisions.

What one fit answers is quickest to compute together, but by one slot alone. Taking a group apart
costs a further fit for each part; it is worth it when slots would idle and the parts end sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class MemberSeconds:
    """What one member of a group takes."""

    fit: float
    """A fit of its own, up to the moment at which it can be scored."""

    score: float
    further: float = 0.0
    """What it takes beyond its scoring when another member's fit has come as far as its own."""


def group_seconds(members: Sequence[MemberSeconds]) -> float:
    """What one slot takes for all of them together: the longest fit, and what each adds to it."""
    longest = max(range(len(members)), key=lambda at: members[at].fit)
    own = sum(member.further for at, member in enumerate(members) if at != longest)
    return members[longest].fit + own + sum(member.score for member in members)


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
        whole = list(range(len(members)))
        by_length = sorted(whole, key=lambda at: -(members[at].fit + members[at].score))
        parts: list[list[int]] = []
        span = 0.0
        for at in by_length:
            best = _cheapest(parts, at, members, span, room=len(parts) < slots)
            if best is None:
                parts.append([at])
            else:
                parts[best].append(at)
            span = max(_seconds(part, members) for part in parts)
        parts = _without_spare(parts, members, span)
        if len(parts) == 1 or not self.sooner(span, group_seconds(members)):
            return [whole]
        return [sorted(part) for part in parts]

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
        whole = seconds_left(here, elapsed)
        best, span = 0, whole
        for cut in range(1, len(members)):
            kept = seconds_left(here[:cut], elapsed)
            end = max(kept, group_seconds(members[cut:]))
            if end < span:
                best, span = cut, end
        return best if best and self.sooner(span, whole) else 0


def _seconds(part: Sequence[int], members: Sequence[MemberSeconds]) -> float:
    return group_seconds([members[at] for at in sorted(part)])


def _without_spare(
    parts: list[list[int]], members: Sequence[MemberSeconds], span: float
) -> list[list[int]]:
    """The longest part first, short ones put together: each costs a fit, and must save time."""
    ordered = sorted(parts, key=lambda part: -_seconds(part, members))
    while len(ordered) > 1:
        *others, one, other = ordered
        both = [*one, *other]
        if _seconds(both, members) > span:
            break
        ordered = sorted([*others, both], key=lambda part: -_seconds(part, members))
    return ordered


def _cheapest(
    parts: list[list[int]],
    at: int,
    members: Sequence[MemberSeconds],
    span: float,
    *,
    room: bool,
) -> int | None:
    """The part that a member joins, None for a new one: a new one only where that ends sooner."""
    if not parts:
        return None
    ends = [_seconds([*part, at], members) for part in parts]
    best = min(range(len(parts)), key=ends.__getitem__)
    # The longest come first: by itself it takes no longer than the longest part does now.
    return None if room and ends[best] > span else best
