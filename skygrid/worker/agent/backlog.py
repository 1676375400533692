"""The leases that a node has in hand: how many to ask for, which to start, which were lost.

An agent asks when what waits for its slots would last no longer than the answer takes, and for as
much as keeps its requests, and its reports, rare.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterable, Sequence

from skygrid.worker.slots.pool import AT_ONCE, SlotPool
from skygrid.worker.wire.messages import FitResult, Lease

HORIZON_SECONDS = 0.06
"""Work to hold beyond the round trip: results arrive in portions, the driver's disk takes time."""

MOST_PER_SLOT = 1600
"""Leases in hand for each slot, at the most: fits that cost nothing take 30 us, results lie in the
pipes for 10 ms, and the driver needs a few for the answer."""

LOCKSTEP = 4.0
"""Slots that began together end together: a lease waits for each of them, unless fits are so long
that the wait for an answer, times this, is nothing beside them."""

REPORT_SECONDS = 0.2
"""How long results may be collected before they are reported together, with the next request.

A node that dies takes them along: longer would spare the driver messages, and lose ended fits."""

MOST_WAITING = 250
"""Results that are reported together, about."""

BRISK_SECONDS = 0.005
"""Time between ends of fits below which an agent reads them in portions."""

PORTION_SECONDS = 0.01
"""How long results of brisk fits collect before the agent reads them, at the most."""

LEAST_PORTION_SECONDS = 0.0005
"""And at the least."""

SMOOTHING = 0.2
"""Weight of the newest one in the running mean of what leases, or fits, take."""

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
        """Whether slots are there that have the search, or will be in a moment."""

        self._slots = slots
        self._in_hand: dict[int, Lease] = {}
        # Every lease in hand is either held here or was put into the pipe of tasks.
        self._held: deque[Lease] = deque()
        self._alone: deque[Lease] = deque()
        self._started: set[int] = set()
        self._alone_running = 0
        # Of leases for several candidates: results to come, and what slots spent by now.
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
        """Leases have arrived."""
        self._round_trip = min(now - self._pulled_at, 1.0) if self._pulled else self._round_trip
        self._pulled = 0
        self._began = min(self._began, now)
        for lease in leases:
            self._in_hand[lease.id] = lease
            if lease.members:
                self._to_come[lease.id] = lease.n_tasks
            (self._alone if lease.alone else self._held).append(lease)

    def wanted(self, now: float, *, anyway: bool = False) -> int:
        """How many leases to ask for now; 0 when enough are in hand or were asked for already.

        With `anyway` something is sent in any case, and a request beside it costs nothing.
        """
        if not self.open:
            return 0
        ahead, batch = self._ahead()
        count = self._slots + ahead - len(self._in_hand)
        # Asking again for a few more would be traffic without use; a standing request stands.
        more = count - self._pulled
        if more <= 0 or (more < batch and not anyway):
            return 0
        if not self._pulled:
            self._pulled_at = now
        self._pulled = count
        return count

    def portion_seconds(self, now: float) -> float:
        """How long results may collect in the pipes.

        That is where fits end so fast that to read each one by itself would cost too much, and
        where the slots have enough to do meanwhile.
        """
        pace = self._fit_seconds / self._slots
        waiting = len(self._in_hand) - self._slots
        if not 0.0 < pace < BRISK_SECONDS or waiting <= 0:
            return 0.0
        # Half of it, as more is to be there in time. At first the pace is that of very few fits.
        known = min(waiting * pace, now - self._began) / 2
        return min(PORTION_SECONDS, max(LEAST_PORTION_SECONDS, known))

    def collects(self, waiting: int) -> bool:
        """Whether results, of which so many wait, may wait on for others.

        That is where they come often and the node has more to do. Somebody may wait for the last
        ones of a round; and a driver that takes many in at once lets slots wait for their next.
        """
        often = 0.0 < self._fit_seconds / self._slots < REPORT_SECONDS / 2
        return often and len(self._in_hand) > self._slots and waiting < MOST_WAITING

    def _ahead(self) -> tuple[int, int]:
        """Leases to hold beyond one for each slot, and how many of them to ask for at a time.

        The rest is what slots that become free start until the answer comes.
        """
        if not self._lease_seconds:
            return 0, 0
        answer = (self._round_trip + HORIZON_SECONDS) / self._lease_seconds
        reserve = max(answer, min(1.0, LOCKSTEP * answer))
        batch = REPORT_SECONDS / self._lease_seconds
        ahead = min(reserve + batch, MOST_PER_SLOT)
        return math.ceil(self._slots * ahead), int(self._slots * batch * ahead / (reserve + batch))

    @property
    def empty(self) -> bool:
        """Whether nothing is in hand."""
        return not self._in_hand

    @property
    def over(self) -> bool:
        """Whether, beyond that, no slot runs anything, nor will take anything to run."""
        return not self._in_hand and not self._started

    # -- starting

    def feed(self, pool: SlotPool, now: float) -> None:
        """Hand held leases to the slots, one that wants to be alone when nothing else runs."""
        if self._suspects:
            self._clear_suspects(pool, now)
        if self._alone_running:
            return
        if self._alone:
            # A slot may have taken a task and not said so yet, so a quiet pool is not enough.
            if not self._started and pool.quiet:
                self._start_alone(pool)
        else:
            while self._held and self._start_some(pool):
                pass

    def _start_alone(self, pool: SlotPool) -> None:
        lease = self._alone.popleft()
        if lease.id not in self._in_hand:
            return  # it has ended meanwhile
        if self._start(pool, [lease]):
            self._alone_running = lease.id
        else:
            self._alone.appendleft(lease)

    def _start_some(self, pool: SlotPool) -> bool:
        """Hand the next ones over; False when the others must wait."""
        leases: list[Lease] = []
        while self._held and len(leases) < AT_ONCE:
            lease = self._held.popleft()
            if lease.id in self._in_hand:  # else it has ended meanwhile
                leases.append(lease)
        count = self._start(pool, leases)
        self._held.extendleft(reversed(leases[count:]))
        return count == len(leases)

    def _start(self, pool: SlotPool, leases: Sequence[Lease]) -> int:
        """Hand leases over; how many of them have not to wait."""
        count = pool.put(leases)
        self._started.update(lease.id for lease in leases[:count])
        return count

    # -- ending

    def accept(self, results: Sequence[FitResult]) -> list[FitResult]:
        """Results of leases in hand; what a slot sends twice is dropped."""
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

    def _is_last(self, result: FitResult) -> bool:
        """Whether no further result comes of this lease."""
        to_come = self._to_come.get(result.lease, 1) - 1
        if to_come:
            self._to_come[result.lease] = to_come
            spent = self._spent.get(result.lease, 0.0)
            self._spent[result.lease] = spent + result.busy_seconds
        else:
            self._to_come.pop(result.lease, None)
        return not to_come

    def _ended(self, lease: int) -> None:
        """No slot runs this lease any more, nor will one take it."""
        self._started.discard(lease)
        if lease and lease == self._alone_running:
            self._alone_running = 0

    def give_back(self, pool: SlotPool, count: int) -> list[int]:
        """Up to `count` leases that nothing has started, the last first."""
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
        """Drop leases that are no longer wanted, wherever they wait."""
        self._hold_waiting(pool)
        for lease in leases:
            self._in_hand.pop(lease, None)
        self._held = deque(lease for lease in self._held if lease.id not in leases)
        self._alone = deque(lease for lease in self._alone if lease.id not in leases)

    def slot_died(self, pool: SlotPool, lease: int, now: float) -> bool:
        """A slot died under this lease (0: none); whether the lease was in hand still."""
        in_hand = self._in_hand.pop(lease, None) is not None
        self._to_come.pop(lease, None)
        self._spent.pop(lease, None)
        self._ended(lease)
        # It may have died after taking a task and before saying so. What then lies in the pipe
        # was not taken by it; what is neither there nor held is suspected to be lost.
        self._hold_waiting(pool)
        self._suspects = set(self._started)
        self._suspects_since = now
        return in_hand

    def _hold_waiting(self, pool: SlotPool) -> None:
        """Take back what no slot has taken, to be started again in the same order."""
        for lease_id in reversed(pool.take_back(sys.maxsize)):
            self._ended(lease_id)
            self._hold_again(lease_id)

    def _hold_again(self, lease_id: int) -> None:
        lease = self._in_hand.get(lease_id)
        if lease is not None:
            (self._alone if lease.alone else self._held).appendleft(lease)

    def _clear_suspects(self, pool: SlotPool, now: float) -> None:
        """Start again what vanished with a dead slot: no slot has run or reported it since."""
        self._suspects &= self._started
        self._suspects -= {record.lease for _, record in pool.running()}
        if now - self._suspects_since > SETTLE_SECONDS:
            for lease in self._suspects:
                self._ended(lease)
                self._hold_again(lease)
            self._suspects = set()


def _mean(last: float, seconds: float) -> float:
    """The running mean with one more; 0 is none yet."""
    last = last or seconds
    return max(1e-5, last + SMOOTHING * (seconds - last))
