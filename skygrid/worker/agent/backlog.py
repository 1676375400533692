"""The leases in hand on a node: how many to ask for, which to start, which were lost.

An agent asks when the waiting leases would last no longer than the answer takes. It asks for enough
to keep requests and reports rare.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TypeVar

from skygrid.worker.limits import REPORT_SECONDS
from skygrid.worker.slots.pool import AT_ONCE, SlotPool
from skygrid.worker.wire.messages.calls import CallDone
from skygrid.worker.wire.messages.results import FitResult
from skygrid.worker.wire.messages.to_agent import Lease

HORIZON_SECONDS = 0.06
"""Work to hold beyond the round trip, in seconds: results are read in portions, and the driver
writes to its disk before it answers."""

MOST_PER_SLOT = 1600
"""Most spare leases per slot: the shortest fits take 30 us, results stay in the pipes for up to
10 ms, and the driver needs a few ms for the answer."""

LOCKSTEP = 4.0
"""Keep one spare lease per slot, because slots that start together also finish together. Fits that
take longer than the answer, times this factor, need a smaller reserve."""

MOST_WAITING = 250
"""Waiting results at which the agent reports."""

BRISK_SECONDS = 0.005
"""Mean time between the ends of fits, in seconds, below which results are read in portions."""

PORTION_SECONDS = 0.01
"""Longest time that results collect before the agent reads them, in seconds."""

LEAST_PORTION_SECONDS = 0.0005
"""Shortest time that results collect if they are read in portions, in seconds."""

SMOOTHING = 0.2
"""Weight of the newest value in the running means of the time per lease and per fit."""

SETTLE_SECONDS = 0.5
"""Time after a slot's death, in seconds, at which a lease that no slot has run or reported since
counts as lost with the slot."""


_Result = TypeVar("_Result", FitResult, CallDone)


class Backlog:
    """Leases granted to this node and not yet ended.

    Parameters
    ----------
    slots : int
        Fits at a time.
    """

    def __init__(self, slots: int) -> None:
        self.open = False
        """True if a slot has loaded the round."""

        self._slots = slots
        self._in_hand: dict[int, Lease] = {}
        # Every lease in hand is either held here or was put into the pipe.
        self._held: deque[Lease] = deque()
        self._alone: deque[Lease] = deque()
        self._started: set[int] = set()
        self._alone_running = 0
        # For leases of several candidates: number of missing results, and slot seconds so far.
        self._to_come: dict[int, int] = {}
        self._spent: dict[int, float] = {}
        self._lease_seconds = 0.0
        self._fit_seconds = 0.0
        self._round_trip = 0.0
        self._pulled_at = 0.0
        self._pulled = 0
        self._began = math.inf
        self._suspects: set[int] = set()
        self._suspects_since = 0.0

    # -- asking

    def granted(self, leases: Iterable[Lease], now: float) -> None:
        """Add leases that have arrived."""
        self._round_trip = min(now - self._pulled_at, 1.0) if self._pulled else self._round_trip
        self._pulled = 0
        self._began = min(self._began, now)
        for lease in leases:
            self._in_hand[lease.id] = lease
            if lease.members:
                self._to_come[lease.id] = lease.n_tasks
            (self._alone if lease.alone else self._held).append(lease)

    def wanted(self, now: float, *, anyway: bool = False) -> int:
        """Return how many leases to ask for now; 0 if enough are in hand or requested.

        With `anyway`, ask for any number: another message is sent now, so a request is free.
        """
        if not self.open:
            return 0
        ahead, batch = self._ahead()
        count = self._slots + ahead - len(self._in_hand)
        # An earlier request stands: do not ask again for a few more.
        more = count - self._pulled
        if more <= 0 or (more < batch and not anyway):
            return 0
        if not self._pulled:
            self._pulled_at = now
        self._pulled = count
        return count

    def portion_seconds(self, now: float) -> float:
        """Return the seconds that results may collect in the pipes; 0 to read them at once.

        Results collect if fits end so fast that reading each one alone costs too much, and if the
        slots have enough leases meanwhile.
        """
        pace = self._fit_seconds / self._slots
        waiting = len(self._in_hand) - self._slots
        if not 0.0 < pace < BRISK_SECONDS or waiting <= 0:
            return 0.0
        # Use half the time that the waiting leases last, so that new ones arrive before its end.
        # At first the pace comes from few fits: wait no longer than it has been measured.
        known = min(waiting * pace, now - self._began) / 2
        return min(PORTION_SECONDS, max(LEAST_PORTION_SECONDS, known))

    def collects(self, waiting: int) -> bool:
        """Return whether the `waiting` results may wait for more before they are reported.

        They may if results come often and the node has more leases. The last results of a round are
        reported at once, and so are `MOST_WAITING`: a driver that processes many together delays
        the next leases.
        """
        often = 0.0 < self._fit_seconds / self._slots < REPORT_SECONDS / 2
        return often and len(self._in_hand) > self._slots and waiting < MOST_WAITING

    def _ahead(self) -> tuple[int, int]:
        """Return the spare leases to hold, and how many of them to ask for at a time.

        Slots start the others while the answer is on its way.
        """
        if not self._lease_seconds:
            return 0, 0
        answer = (self._round_trip + HORIZON_SECONDS) / self._lease_seconds
        reserve = max(answer, min(1.0, LOCKSTEP * answer))
        batch = REPORT_SECONDS / self._lease_seconds
        ahead = min(reserve + batch, MOST_PER_SLOT)
        return math.ceil(self._slots * ahead), int(self._slots * batch * ahead / (reserve + batch))

    def holds(self, lease: int) -> bool:
        """Return whether a lease is in hand."""
        return lease in self._in_hand

    @property
    def empty(self) -> bool:
        """True if no lease is in hand."""
        return not self._in_hand

    @property
    def over(self) -> bool:
        """True if also no slot runs a lease or will take one from the pipe."""
        return not self._in_hand and not self._started

    # -- starting

    def feed(self, pool: SlotPool, now: float) -> None:
        """Hand held leases to the slots; a lease to run alone waits until nothing else runs."""
        if self._suspects:
            self._clear_suspects(pool, now)
        if self._alone_running:
            return
        if self._alone:
            # A quiet pool is not enough: a slot may have taken a task and not yet recorded it.
            if not self._started and pool.quiet:
                self._start_alone(pool)
        else:
            while self._held and self._start_some(pool):
                pass

    def _start_alone(self, pool: SlotPool) -> None:
        lease = self._alone.popleft()
        if lease.id not in self._in_hand:
            return  # the lease has ended meanwhile
        if self._start(pool, [lease]):
            self._alone_running = lease.id
        else:
            self._alone.appendleft(lease)

    def _start_some(self, pool: SlotPool) -> bool:
        """Hand over the next leases; return False if some must wait."""
        leases: list[Lease] = []
        while self._held and len(leases) < AT_ONCE:
            lease = self._held.popleft()
            if lease.id in self._in_hand:  # otherwise the lease has ended meanwhile
                leases.append(lease)
        count = self._start(pool, leases)
        self._held.extendleft(reversed(leases[count:]))
        return count == len(leases)

    def _start(self, pool: SlotPool, leases: Sequence[Lease]) -> int:
        """Put leases into the pipe; return the number for which there was room."""
        count = pool.put(leases)
        self._started.update(lease.id for lease in leases[:count])
        return count

    # -- ending

    def accept(self, results: Sequence[_Result]) -> list[_Result]:
        """Return the results of leases in hand; drop repeated ones."""
        accepted = []
        for result in results:
            last = self._is_last(result)
            if last:
                self._ended(result.lease)
            if result.lease in self._in_hand:
                accepted.append(result)
                self._fit_seconds = _mean(self._fit_seconds, result.busy_seconds)
                if last:
                    del self._in_hand[result.lease]
                    seconds = self._spent.pop(result.lease, 0.0) + result.busy_seconds
                    self._lease_seconds = _mean(self._lease_seconds, seconds)
        return accepted

    def _is_last(self, result: FitResult | CallDone) -> bool:
        """Count a result; return whether it is the last of its lease."""
        to_come = self._to_come.get(result.lease, 1) - 1
        if to_come:
            self._to_come[result.lease] = to_come
            spent = self._spent.get(result.lease, 0.0)
            self._spent[result.lease] = spent + result.busy_seconds
        else:
            self._to_come.pop(result.lease, None)
        return not to_come

    def _ended(self, lease: int) -> None:
        """Note that no slot runs this lease or will take it."""
        self._started.discard(lease)
        if lease and lease == self._alone_running:
            self._alone_running = 0

    def give_back(self, pool: SlotPool, count: int) -> list[int]:
        """Remove up to `count` leases that no slot has started, the newest first."""
        returned: list[int] = []
        for queue in (self._held, self._alone):
            while queue and len(returned) < count:
                returned.append(queue.pop().id)
        for lease in pool.take_back(count - len(returned)):
            self._ended(lease)
            returned.append(lease)
        self._pulled = 0
        for lease in returned:
            self._to_come.pop(lease, None)
        return [lease for lease in returned if self._in_hand.pop(lease, None)]

    def forget(self, pool: SlotPool, leases: set[int]) -> None:
        """Drop leases that are no longer wanted."""
        self._hold_waiting(pool)
        for lease in leases:
            self._in_hand.pop(lease, None)
        self._held = deque(lease for lease in self._held if lease.id not in leases)
        self._alone = deque(lease for lease in self._alone if lease.id not in leases)

    def slot_died(self, pool: SlotPool, lease: int, now: float) -> bool:
        """Remove the lease of a dead slot (0: none); return whether it was still in hand."""
        in_hand = self._in_hand.pop(lease, None) is not None
        self._to_come.pop(lease, None)
        self._spent.pop(lease, None)
        self._ended(lease)
        # The slot may have died after taking a task and before recording it. Tasks still in the
        # pipe were not taken; started leases that are not there may be lost.
        self._hold_waiting(pool)
        self._suspects = set(self._started)
        self._suspects_since = now
        return in_hand

    def _hold_waiting(self, pool: SlotPool) -> None:
        """Take back the leases in the pipe, to start them again in the same order."""
        for lease_id in reversed(pool.take_back(sys.maxsize)):
            self._ended(lease_id)
            self._hold_again(lease_id)

    def _hold_again(self, lease_id: int) -> None:
        lease = self._in_hand.get(lease_id)
        if lease is not None:
            (self._alone if lease.alone else self._held).appendleft(lease)

    def _clear_suspects(self, pool: SlotPool, now: float) -> None:
        """Hold the leases again that a dead slot took: no slot has run or reported them since."""
        self._suspects &= self._started
        self._suspects -= {record.lease for _, record in pool.running()}
        if now - self._suspects_since > SETTLE_SECONDS:
            for lease in self._suspects:
                self._ended(lease)
                self._hold_again(lease)
            self._suspects = set()


def _mean(last: float, seconds: float) -> float:
    """Return the running mean with a new value; a mean of 0 means no value yet."""
    last = last or seconds
    return max(1e-5, last + SMOOTHING * (seconds - last))
