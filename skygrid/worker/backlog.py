"""The leases that a node has in hand: how many to ask for, which to start, which were lost.

An agent holds as many leases as hide the round trip to the driver, and no more: slots x (1 + round
trip / fit time).
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterable, Sequence

from .messages import FitResult, Lease
from .slots import SlotPool

HORIZON_SECONDS = 0.06
"""Work to hold beyond the round trip: results arrive in portions and the driver's disk takes time."""

MOST_PER_SLOT = 400
"""Leases in hand for each slot, at the most."""

BRISK_SECONDS = 0.005
"""Time between ends of fits below which an agent reads them in portions."""

SMOOTHING = 0.2
"""Weight of the newest fit in the running mean of fit times."""

SETTLE_SECONDS = 0.5
"""A lease that no slot runs or reports for so long after a slot's death was lost with it."""


class Backlog:
    """Leases granted to this node and not yet ended.

    Parameters
    ----------
    slots : int
        Fits at a time.
    """

    def __init__(self, slots: int) -> None:
        self.open = False
        """Whether the round's slots have come up."""

        self._slots = slots
        self._in_hand: dict[int, Lease] = {}
        self._held: deque[Lease] = deque()
        self._alone: deque[Lease] = deque()
        self._alone_running = 0
        self._fit_seconds = 0.0
        self._round_trip = 0.0
        self._pulled_at = 0.0
        self._pulled = 0
        self._suspects: set[int] = set()
        self._suspects_since = 0.0

    # -- asking

    def granted(self, leases: Iterable[Lease], now: float) -> None:
        """Leases have arrived."""
        self._round_trip = min(now - self._pulled_at, 1.0) if self._pulled else self._round_trip
        self._pulled = 0
        for lease in leases:
            self._in_hand[lease.id] = lease
            (self._alone if lease.alone else self._held).append(lease)

    def wanted(self, now: float) -> int:
        """How many leases to ask for now; 0 when enough are in hand or were asked for already."""
        if not self.open:
            return 0
        target = self._target()
        count = target - len(self._in_hand)
        # Asking again for a few more would be traffic without use; a standing request stands.
        if count <= self._pulled or count < max(1, target // 4):
            return 0
        if not self._pulled:
            self._pulled_at = now
        self._pulled = count
        return count

    @property
    def brisk(self) -> bool:
        """Whether fits end so fast that reading each one by itself would cost too much."""
        return bool(self._fit_seconds) and self._fit_seconds / self._slots < BRISK_SECONDS

    def _target(self) -> int:
        if not self._fit_seconds:
            return self._slots
        ahead = (self._round_trip + HORIZON_SECONDS) / self._fit_seconds
        return math.ceil(self._slots * (1 + min(ahead, MOST_PER_SLOT)))

    # -- starting

    def feed(self, pool: SlotPool, now: float) -> None:
        """Hand held leases to the slots, one that wants to be alone when nothing else runs."""
        if self._suspects:
            self._clear_suspects(pool, now)
        if self._alone_running:
            return
        if self._alone:
            if pool.quiet:
                lease = self._alone.popleft()
                self._alone_running = lease.id
                pool.put(lease.id, lease.candidate, lease.split)
        else:
            while self._held and pool.put(
                self._held[0].id, self._held[0].candidate, self._held[0].split
            ):
                self._held.popleft()

    # -- ending

    def accept(self, results: Sequence[FitResult]) -> list[FitResult]:
        """Results of leases in hand; what a slot sends twice is dropped."""
        accepted = [result for result in results if self._in_hand.pop(result.lease, None)]
        for result in accepted:
            seconds = result.fit_seconds + result.score_seconds
            last = self._fit_seconds or seconds
            self._fit_seconds = max(1e-5, last + SMOOTHING * (seconds - last))
            if result.lease == self._alone_running:
                self._alone_running = 0
        return accepted

    def give_back(self, pool: SlotPool, count: int) -> list[int]:
        """Up to `count` leases that nothing has started, the last first."""
        returned: list[int] = []
        for queue in (self._held, self._alone):
            while queue and len(returned) < count:
                returned.append(queue.pop().id)
        returned += [task[0] for task in pool.take_back(count - len(returned))]
        for lease in returned:
            self._in_hand.pop(lease, None)
        self._pulled = 0
        return returned

    def forget(self, pool: SlotPool, leases: set[int]) -> None:
        """Drop leases that are no longer wanted, wherever they wait."""
        self._hold_waiting(pool)
        for lease in leases:
            self._in_hand.pop(lease, None)
        self._held = deque(lease for lease in self._held if lease.id not in leases)
        self._alone = deque(lease for lease in self._alone if lease.id not in leases)

    def slot_died(self, pool: SlotPool, lease: int, now: float) -> bool:
        """A slot died under this lease (0: none); whether the lease was in hand still."""
        if lease:
            if lease == self._alone_running:
                self._alone_running = 0
            return self._in_hand.pop(lease, None) is not None
        # It may have died after taking a task and before saying so. What then lies in the pipe
        # was not taken by it; what is neither there nor held is suspected to be lost.
        self._hold_waiting(pool)
        held = {lease.id for lease in (*self._held, *self._alone)}
        self._suspects = set(self._in_hand) - held
        self._suspects_since = now
        return False

    def _hold_waiting(self, pool: SlotPool) -> None:
        waiting = [task[0] for task in pool.take_back(sys.maxsize)]
        self._held.extendleft(self._in_hand[lease] for lease in reversed(waiting))

    def _clear_suspects(self, pool: SlotPool, now: float) -> None:
        """Start again what vanished with a dead slot: no slot has run or reported it since."""
        self._suspects &= self._in_hand.keys()
        self._suspects -= {record.lease for _, record in pool.running()}
        if now - self._suspects_since > SETTLE_SECONDS:
            for lease in self._suspects:
                (self._alone if self._in_hand[lease].alone else self._held).append(
                    self._in_hand[lease]
                )
            if self._alone_running in self._suspects:
                self._alone_running = 0
            self._suspects = set()
