"""The backlog: each lease is started, returned, reported or lost exactly once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skygrid.worker.agent.backlog import (
    BRISK_SECONDS,
    LEAST_PORTION_SECONDS,
    MOST_PER_SLOT,
    MOST_WAITING,
    PORTION_SECONDS,
    SETTLE_SECONDS,
    Backlog,
)
from skygrid.worker.limits import REPORT_SECONDS
from skygrid.worker.slots.status_page import SlotStatus
from skygrid.worker.wire.messages.results import FitResult
from skygrid.worker.wire.messages.to_agent import Lease


def fitted(lease: int, seconds: float = 0.0) -> FitResult:
    return FitResult(
        lease=lease, candidate=0, slot=0, status="scored", test_scores=0.5, busy_seconds=seconds
    )


class PaperPool:
    """Pool of slots on paper: a pipe of tasks, slots that took one, slots that run one."""

    def __init__(self, room: int = 1000) -> None:
        self.pipe: deque[int] = deque()
        self.room = room
        self.taken: list[int] = []
        """Leases that a slot took but has not reported yet."""

        self.run: list[int] = []

    def put(self, leases: Sequence[Lease]) -> int:
        room = self.room - len(self.pipe)
        self.pipe.extend(lease.id for lease in leases[:room])
        return len(leases[:room])

    def take_back(self, count: int) -> list[int]:
        found = []
        while self.pipe and len(found) < count:
            found.append(self.pipe.popleft())
        return found

    def running(self) -> list[tuple[Any, SlotStatus]]:
        return [(None, SlotStatus(lease, 0.0)) for lease in self.run]

    @property
    def quiet(self) -> bool:
        return not self.pipe and not self.run


@pytest.fixture
def pool() -> PaperPool:
    return PaperPool()


@pytest.fixture
def backlog() -> Backlog:
    made = Backlog(2)
    made.open = True
    return made


def leases(*numbers: int, alone: bool = False) -> list[Lease]:
    return [Lease(number, 0, 0, alone) for number in numbers]


# ---- requests -----------------------------------------------------------------------------------


def test_nothing_is_requested_before_the_slots_are_up() -> None:
    assert Backlog(2).wanted(0.0) == 0


def test_the_first_request_is_one_lease_for_each_slot(backlog: Backlog) -> None:
    assert backlog.wanted(0.0) == 2
    assert backlog.wanted(0.1) == 0


def test_an_empty_grant_allows_another_request(backlog: Backlog) -> None:
    backlog.wanted(0.0)
    backlog.granted([], 0.1)
    assert backlog.wanted(0.2) == 2


def test_quick_fits_are_requested_ahead_up_to_a_bound(backlog: Backlog) -> None:
    backlog.wanted(0.0)
    backlog.granted(leases(1, 2), 0.01)
    backlog.accept([fitted(1, 0.01), fitted(2, 0.01)])
    assert 10 < backlog.wanted(0.02) < 60
    backlog.granted(leases(3), 0.03)
    for number in range(3, 200):
        backlog.granted(leases(number), 0.03)
        backlog.accept([fitted(number, 0.0)])
    assert backlog.wanted(0.04) <= 2 * (1 + MOST_PER_SLOT)


def test_long_fits_are_hardly_requested_ahead(backlog: Backlog) -> None:
    backlog.wanted(0.0)
    backlog.granted(leases(1, 2), 0.01)
    backlog.accept([fitted(1, 100.0)])
    assert backlog.wanted(100.0) <= 2


def test_slots_that_end_together_start_again_at_once(backlog: Backlog) -> None:
    """When an agent asks, as many leases wait as slots may end before the answer."""
    backlog.wanted(0.0)
    backlog.granted(leases(1, 2), 0.05)
    backlog.accept([fitted(1, 0.2), fitted(2, 0.2)])
    held = backlog.wanted(0.25)
    backlog.granted(leases(*range(3, 3 + held)), 0.3)
    number = 3
    while not backlog.wanted(0.5):
        backlog.accept([fitted(number, 0.2)])
        number += 1
    assert held + 3 - number >= 2 * 2


def test_results_are_collected_while_they_are_quick_and_more_are_in_hand(backlog: Backlog) -> None:
    backlog.granted(leases(1, 2, 3, 4), 0.0)
    assert not backlog.collects(1)
    backlog.accept([fitted(1, 0.01)])
    assert backlog.collects(1)
    backlog.accept([fitted(2, 0.01)])
    assert not backlog.collects(2)  # leases 3 and 4 are the last two
    slow = Backlog(2)
    slow.granted(leases(1, 2, 3, 4), 0.0)
    slow.accept([fitted(1, 2 * REPORT_SECONDS)])
    assert not slow.collects(1)


def test_a_request_beside_another_message_is_made_earlier(backlog: Backlog) -> None:
    backlog.granted(leases(*range(1, 41)), 0.0)
    backlog.accept([fitted(1, 0.01)])
    backlog.granted(leases(*range(41, 41 + backlog.wanted(0.0))), 0.05)
    backlog.accept([fitted(2, 0.01), fitted(3, 0.01)])
    assert backlog.wanted(0.1) == 0
    assert backlog.wanted(0.1, anyway=True) > 0


@pytest.mark.parametrize(
    ("seconds", "in_hand", "collect"),
    [(BRISK_SECONDS, 10, True), (3 * BRISK_SECONDS, 10, False), (BRISK_SECONDS, 2, False)],
    ids=["brisk", "slow", "little to do"],
)
def test_results_of_brisk_fits_collect_while_slots_have_work(
    backlog: Backlog, seconds: float, in_hand: int, collect: bool
) -> None:
    """Results of short fits are read in portions, but never while slots are short of work."""
    assert not backlog.portion_seconds(0.0)
    backlog.granted(leases(*range(in_hand + 1)), 0.0)
    backlog.accept([fitted(0, seconds)])
    assert (backlog.portion_seconds(1.0) > 0) == collect


def test_portions_are_short_at_first_and_before_the_end(backlog: Backlog) -> None:
    """Portions are short until the pace is known, and when little is left."""
    backlog.granted(leases(*range(1001)), 1.0)
    backlog.accept([fitted(0, 0.001)])
    assert backlog.portion_seconds(1.0) == LEAST_PORTION_SECONDS
    assert backlog.portion_seconds(1.004) == pytest.approx(0.002)
    assert backlog.portion_seconds(2.0) == PORTION_SECONDS
    backlog.accept([fitted(number, 0.001) for number in range(1, 989)])
    assert backlog.portion_seconds(2.0) == pytest.approx(10 * 0.0005 / 2)


def test_at_most_a_few_results_wait(backlog: Backlog) -> None:
    """Results are sent at the latest when MOST_WAITING of them wait."""
    backlog.granted(leases(*range(1001)), 0.0)
    backlog.accept([fitted(0, 0.001)])
    assert backlog.collects(MOST_WAITING - 1)
    assert not backlog.collects(MOST_WAITING)


# ---- starting and ending ------------------------------------------------------------------------


def test_leases_start_in_the_order_of_their_grant(backlog: Backlog, pool: PaperPool) -> None:
    backlog.granted(leases(3, 1, 2), 0.0)
    backlog.feed(pool, 0.0)
    assert list(pool.pipe) == [3, 1, 2]


def test_a_full_pipe_keeps_the_rest_in_hand(backlog: Backlog, pool: PaperPool) -> None:
    pool.room = 2
    backlog.granted(leases(1, 2, 3, 4), 0.0)
    backlog.feed(pool, 0.0)
    pool.pipe.popleft()
    backlog.feed(pool, 0.0)
    assert list(pool.pipe) == [2, 3]


def test_a_result_counts_once_and_only_for_a_lease_in_hand(backlog: Backlog) -> None:
    backlog.granted(leases(1), 0.0)
    assert backlog.accept([fitted(9), fitted(1), fitted(1)]) == [fitted(1)]
    assert backlog.empty


def test_a_lease_alone_waits_for_a_slot_that_has_not_reported_its_task(
    backlog: Backlog, pool: PaperPool
) -> None:
    backlog.granted(leases(1), 0.0)
    backlog.feed(pool, 0.0)
    pool.taken.append(pool.pipe.popleft())
    backlog.granted(leases(2, alone=True), 0.0)
    assert pool.quiet
    backlog.feed(pool, 0.0)
    assert not pool.pipe
    backlog.accept([fitted(1)])
    backlog.feed(pool, 0.0)
    assert list(pool.pipe) == [2]


def test_nothing_starts_beside_a_lease_alone(backlog: Backlog, pool: PaperPool) -> None:
    backlog.granted(leases(1, alone=True), 0.0)
    backlog.feed(pool, 0.0)
    backlog.granted(leases(2), 0.0)
    backlog.feed(pool, 0.0)
    assert list(pool.pipe) == [1]
    backlog.accept([fitted(1)])
    pool.pipe.clear()
    backlog.feed(pool, 0.0)
    assert list(pool.pipe) == [2]


@pytest.mark.parametrize("how", ["recall", "abandon itself", "abandon another", "a slot's death"])
def test_a_lease_alone_that_leaves_the_pipe_blocks_nothing(
    backlog: Backlog, pool: PaperPool, how: str
) -> None:
    backlog.granted(leases(1, alone=True), 0.0)
    backlog.feed(pool, 0.0)
    if how == "recall":
        assert backlog.give_back(pool, 1) == [1]
    elif how == "abandon itself":
        backlog.forget(pool, {1})
    elif how == "abandon another":
        backlog.forget(pool, {77})
    else:
        backlog.slot_died(pool, 0, 0.0)
    backlog.granted(leases(2), 0.0)
    backlog.feed(pool, 0.0)
    if how in {"abandon another", "a slot's death"}:
        assert list(pool.pipe) == [1]
        pool.pipe.clear()
        backlog.accept([fitted(1)])
        backlog.feed(pool, 0.0)
    assert list(pool.pipe) == [2]


def test_an_abandoned_lease_alone_that_ends_anyway_blocks_nothing(
    backlog: Backlog, pool: PaperPool
) -> None:
    backlog.granted(leases(1, alone=True), 0.0)
    backlog.feed(pool, 0.0)
    pool.pipe.clear()
    backlog.forget(pool, {1})
    assert backlog.accept([fitted(1)]) == []
    backlog.granted(leases(2), 0.0)
    backlog.feed(pool, 0.0)
    assert list(pool.pipe) == [2]


def test_a_lease_that_vanished_with_its_slot_is_started_again_after_a_while(
    backlog: Backlog, pool: PaperPool
) -> None:
    backlog.granted(leases(1, 2, 3), 0.0)
    backlog.feed(pool, 0.0)
    pool.pipe.popleft()  # taken by the slot that dies
    pool.run.append(pool.pipe.popleft())  # runs in another
    assert not backlog.slot_died(pool, 0, 10.0)
    backlog.feed(pool, 10.0)
    assert list(pool.pipe) == [3]
    backlog.feed(pool, 10.0 + 2 * SETTLE_SECONDS)
    backlog.feed(pool, 10.0 + 2 * SETTLE_SECONDS)
    assert list(pool.pipe) == [3, 1]


def test_a_death_is_reported_once(backlog: Backlog, pool: PaperPool) -> None:
    backlog.granted(leases(1), 0.0)
    backlog.feed(pool, 0.0)
    assert backlog.slot_died(pool, 1, 0.0)
    assert not backlog.slot_died(pool, 1, 0.0)
    assert backlog.accept([fitted(1)]) == []


def test_a_lease_alone_is_not_run_again_once_it_has_ended(
    backlog: Backlog, pool: PaperPool
) -> None:
    """A result of a lease that was believed lost counts, and the next lease starts."""
    backlog.granted(leases(1, 2, alone=True), 0.0)
    backlog.feed(pool, 0.0)
    pool.taken.append(pool.pipe.popleft())
    assert not backlog.slot_died(pool, 0, 0.0)
    pool.run.append(99)  # keeps lease 1 in hand instead of starting it at once
    backlog.feed(pool, 2 * SETTLE_SECONDS)
    assert backlog.accept([fitted(1)])
    pool.run.clear()
    backlog.feed(pool, 3 * SETTLE_SECONDS)
    backlog.feed(pool, 3 * SETTLE_SECONDS)
    assert list(pool.pipe) == [2]


# ---- any order of events ------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Slots take, run, die and report; the driver grants, recalls and abandons."""

    @initialize(room=st.integers(1, 5))
    def begin(self, room: int) -> None:
        self.backlog, self.pool = Backlog(2), PaperPool(room)
        self.backlog.open = True
        self.now, self.next, self.open = 0.0, 1, set[int]()
        self.alone: set[int] = set()
        self.untold = 0
        """Number of the last taken leases that were taken since the last feed."""

    @rule(count=st.integers(1, 4), alone=st.booleans())
    def grant(self, count: int, alone: bool) -> None:
        numbers = range(self.next, self.next + count)
        self.next += count
        self.open |= set(numbers)
        if alone:
            self.alone |= set(numbers)
        self.backlog.granted(leases(*numbers, alone=alone), self.now)

    @rule()
    def feed(self) -> None:
        # A slot reports what it took well before the agent believes a lease lost.
        self.pool.run += self.pool.taken[: len(self.pool.taken) - self.untold]
        del self.pool.taken[: len(self.pool.taken) - self.untold]
        self.untold = 0
        self.now += SETTLE_SECONDS / 4
        self.backlog.feed(self.pool, self.now)

    @precondition(lambda self: self.pool.pipe and len(self.pool.taken + self.pool.run) < 2)
    @rule()
    def take(self) -> None:
        self.pool.taken.append(self.pool.pipe.popleft())
        self.untold += 1

    @precondition(lambda self: self.pool.taken)
    @rule()
    def say_so(self) -> None:
        self.pool.run.append(self.pool.taken.pop(0))
        self.untold = min(self.untold, len(self.pool.taken))

    @precondition(lambda self: self.pool.run)
    @rule()
    def report(self) -> None:
        lease = self.pool.run.pop(0)
        accepted = [result.lease for result in self.backlog.accept([fitted(lease)])]
        assert accepted == ([lease] if lease in self.open else [])
        self.open.discard(lease)

    @precondition(lambda self: self.pool.run)
    @rule()
    def die_running(self) -> None:
        lease = self.pool.run.pop(0)
        assert self.backlog.slot_died(self.pool, lease, self.now) == (lease in self.open)
        self.open.discard(lease)

    @precondition(lambda self: self.pool.taken)
    @rule()
    def die_after_taking(self) -> None:
        self.pool.taken.pop(0)
        self.untold = min(self.untold, len(self.pool.taken))
        assert not self.backlog.slot_died(self.pool, 0, self.now)

    @rule()
    def die_idle(self) -> None:
        self.backlog.slot_died(self.pool, 0, self.now)

    @rule(count=st.integers(0, 5))
    def recall(self, count: int) -> None:
        returned = self.backlog.give_back(self.pool, count)
        assert len(set(returned)) == len(returned) <= count
        assert set(returned) <= self.open
        self.open -= set(returned)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        unwanted = data.draw(st.sets(st.sampled_from(sorted(self.open)), max_size=3))
        self.backlog.forget(self.pool, unwanted)
        self.open -= unwanted

    @invariant()
    def leases_alone_are_alone(self) -> None:
        if not hasattr(self, "pool"):
            return
        in_slots = self.pool.taken + self.pool.run
        if self.alone & set(in_slots):
            assert len(in_slots) == 1

    @invariant()
    def slots_have_nothing_when_it_is_over(self) -> None:
        if hasattr(self, "pool") and self.backlog.over:
            assert not [*self.pool.pipe, *self.pool.taken, *self.pool.run]

    def teardown(self) -> None:
        """All open leases end without further events."""
        if not hasattr(self, "pool"):
            return
        for _ in range(200):
            self.now += SETTLE_SECONDS
            self.backlog.feed(self.pool, self.now)
            in_slots = [*self.pool.run, *self.pool.taken, *self.pool.pipe]
            for waiting in (self.pool.run, self.pool.taken, self.pool.pipe):
                waiting.clear()
            self.open -= {r.lease for r in self.backlog.accept([fitted(n) for n in in_slots])}
        assert not self.open
        assert self.backlog.over


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
