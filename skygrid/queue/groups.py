"""The groups of a round: their members, and the seconds that each member takes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from skygrid.queue.splitting import MemberSeconds, group_seconds
from skygrid.worker.wire.messages.to_agent import MOST_MEMBERS


class Groups:
    """Candidates that one fit answers, with the measured times of each.

    Parameters
    ----------
    groups
        Candidates of each group, in the order in which they become ready.

    Raises
    ------
    ValueError
        A group has a wrong size, or a candidate outside the round or in two groups.
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
        """Return the number of a candidate's group, -1 for none."""
        return self._of[candidate]

    def siblings(self, task: int) -> list[int]:
        """Return the tasks of the whole group on one split, in the order in which they become
        ready.
        """
        candidate, split = divmod(task, self._n_splits)
        n_splits = self._n_splits
        return [member * n_splits + split for member in self.members[self._of[candidate]]]

    def in_order(self, tasks: Iterable[int]) -> tuple[int, ...]:
        """Sort tasks of one group and split by the order in which they become ready."""
        return tuple(sorted(tasks, key=lambda task: self._place[task // self._n_splits]))

    def bits(self, tasks: Iterable[int]) -> bytes:
        """Encode tasks of one group and split as `Lease.members`."""
        bits = sum(1 << self._place[task // self._n_splits] for task in tasks)
        return bits.to_bytes((bits.bit_length() + 7) // 8, "little")

    # -- times

    def learn(self, lease_id: int, candidate: int, fit: float, score: float, busy: float) -> None:
        """Record the times of a member that was reported.

        Parameters
        ----------
        lease_id
            The lease of its group, -1 for a fit outside a group lease.
        fit, score
            Seconds of a separate fit and of its scoring.
        busy
            Seconds that the slot spent on the member.
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
        """Forget a lease under which no further report comes."""
        self._grown.pop(lease_id, None)

    def seconds(self, tasks: Iterable[int]) -> list[MemberSeconds] | None:
        """Return the times of each of these tasks; None unless all are known."""
        found = [self._seconds.get(task // self._n_splits) for task in tasks]
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None

    def together(self, candidates: Iterable[int]) -> float | None:
        """Return the seconds that one slot takes for those of the candidates that have times.

        None when none has.
        """
        found = [self._seconds[one] for one in candidates if one in self._seconds]
        return group_seconds(found) if found else None
