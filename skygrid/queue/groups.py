"""The groups of a round: who belongs together, and what a group takes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from skygrid.queue.splitting import MemberSeconds, group_seconds
from skygrid.worker.wire.messages import MOST_MEMBERS


class Groups:
    """Candidates that one fit answers, and what is known of the time that each takes.

    Parameters
    ----------
    groups
        Candidates of each group, in the order in which they become ready; no candidate in two.
    n_candidates, n_splits
        Size of the round.

    Raises
    ------
    ValueError
        A group is too large or too small, or names a candidate that is not there or in two.
    """

    def __init__(self, groups: Iterable[Sequence[int]], n_candidates: int, n_splits: int) -> None:
        self._n_splits = n_splits
        self.members = [tuple(group) for group in groups]
        self._of = array("l", [-1]) * n_candidates
        self._place = array("H", [0]) * n_candidates
        self._seconds: dict[int, MemberSeconds] = {}
        self._grown: dict[int, float] = {}
        for number, group in enumerate(self.members):
            if not 1 < len(group) <= MOST_MEMBERS:
                raise ValueError(f"a group of {len(group)} candidates")
            for place, candidate in enumerate(group):
                if not 0 <= candidate < n_candidates or self._of[candidate] >= 0:
                    raise ValueError(f"candidate {candidate} is not there or in two groups")
                self._of[candidate] = number
                self._place[candidate] = place

    def of(self, candidate: int) -> int:
        """Number of a candidate's group, -1 when it has none."""
        return self._of[candidate]

    def siblings(self, task: int) -> list[int]:
        """The tasks of the whole group on one split, in the order in which they become ready."""
        candidate, split = divmod(task, self._n_splits)
        n_splits = self._n_splits
        return [member * n_splits + split for member in self.members[self._of[candidate]]]

    def in_order(self, tasks: Iterable[int]) -> tuple[int, ...]:
        """Tasks of one group and split in the order in which they become ready."""
        return tuple(sorted(tasks, key=lambda task: self._place[task // self._n_splits]))

    def bits(self, tasks: Iterable[int]) -> bytes:
        """Tasks of one group and split as `Lease.members` names them."""
        bits = sum(1 << self._place[task // self._n_splits] for task in tasks)
        return bits.to_bytes((bits.bit_length() + 7) // 8, "little")

    # -- times

    def learn(self, lease_id: int, candidate: int, fit: float, score: float, busy: float) -> None:
        """A member was reported.

        Parameters
        ----------
        lease_id
            The lease that it was a member of.
        candidate
        fit, score
            What a fit of its own would have taken, in seconds.
        busy
            What the slot spent on it.
        """
        before = self._grown.get(lease_id)
        self._grown[lease_id] = max(fit, before or 0.0)
        known = self._seconds.get(candidate)
        if before is None:
            further = known.further if known else 0.0
        else:
            further = max(0.0, busy - score - max(0.0, fit - before))
        if known is None or (before is not None and not known.further):
            self._seconds[candidate] = MemberSeconds(fit=fit, score=score, further=further)

    def closed(self, lease_id: int) -> None:
        """Nothing more is reported under this lease."""
        self._grown.pop(lease_id, None)

    def seconds(self, tasks: Iterable[int]) -> list[MemberSeconds] | None:
        """What each of these tasks takes; None unless that is known of all."""
        found = [self._seconds.get(task // self._n_splits) for task in tasks]
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None

    def together(self, candidates: Iterable[int]) -> float | None:
        """What one slot takes for all of these that have a time; None when none has."""
        found = [self._seconds[one] for one in candidates if one in self._seconds]
        return group_seconds(found) if found else None
