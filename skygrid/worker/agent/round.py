"""One round on a node: its slots and its leases."""

from __future__ import annotations

import selectors
import sys
import time
from collections.abc import Callable, Iterable

from skygrid.worker.errors import UnableError
from skygrid.worker.limits import AGENT_TICK_SECONDS, REPORT_SECONDS
from skygrid.worker.slots.pool import Slot, SlotDeath, SlotPool
from skygrid.worker.slots.slot_news import SlotNews
from skygrid.worker.slots.status_page import SlotStatus
from skygrid.worker.wire.messages.from_agent import AgentLog, Pull, Returned, RoundReady, SlotDied
from skygrid.worker.wire.messages.results import FitResult
from skygrid.worker.wire.messages.to_agent import Lease

from .backlog import Backlog
from .driver_link import DriverLink
from .guard import SlotGuard

EMPTY_DEATHS = 5
"""Number of slots that may die in a row without running a fit before the agent gives up."""


class AgentRound:
    """Runs the leases of one round on the slots.

    Parameters
    ----------
    number : int
        Number of the round in messages.
    pool : SlotPool
        Slots, which outlive the round; missing ones are started.
    count : int
        Number of slots.
    guard : SlotGuard
    driver : DriverLink
    selector : BaseSelector
        Selector of the agent; its key carries the `Slot` whose messages are to be read.
    clock : callable, optional
        Returns the monotonic time.
    """

    def __init__(
        self,
        number: int,
        pool: SlotPool,
        count: int,
        guard: SlotGuard,
        driver: DriverLink,
        selector: selectors.BaseSelector,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.number = number
        self._pool = pool
        self._guard = guard
        self._driver = driver
        self._selector = selector
        self._backlog = Backlog(count)
        self._unwanted: set[int] = set()
        self._empty_deaths = 0
        self._next_watch = 0.0
        self._driver.begin(number)
        for slot in pool.slots:
            selector.register(slot.news, selectors.EVENT_READ, slot)

    def _start_slot(self) -> None:
        try:
            slot = self._pool.start_next()
        except OSError as error:
            self._go_on_with_fewer(error)
            return
        self._selector.register(slot.news, selectors.EVENT_READ, slot)

    def _go_on_with_fewer(self, error: OSError) -> None:
        """Fit with the slots that run: a limit of processes or of memory allows no more."""
        running = len(self._pool.slots)
        if not running:
            raise UnableError(f"a slot cannot be started: {error}") from error
        wanted = self._pool.accept_fewer()
        self._driver.send(
            AgentLog(
                text=f"{running} of {wanted} slots run, because no other process can be started "
                f"({error}): raise the limit of processes (ulimit -u), or lower concurrency"
            )
        )

    @property
    def opening(self) -> bool:
        """True while slots are still to be started."""
        return not self._pool.full

    def close(self) -> bool:
        """Stop reading the slots; return whether all of them are free."""
        for slot in self._pool.slots:
            if slot.news in self._selector.get_map():
                self._selector.unregister(slot.news)
        return self._backlog.over

    def running(self) -> list[tuple[Slot, SlotStatus]]:
        """Return the slots that run a lease, with their status records."""
        return self._pool.running()

    @property
    def slots_bytes(self) -> int:
        """Private memory of all slots together, in bytes."""
        return sum(self._pool.private_bytes().values())

    @property
    def idle(self) -> bool:
        """True if no lease is in hand."""
        return self._backlog.empty

    def turn(self, now: float, *, asks: bool, speaks: bool) -> None:
        """Start slots and leases, report, and ask for more leases if `asks`.

        If `speaks`, the agent sends another message now: waiting results are sent with it.
        """
        # A fork takes a while: give the existing slots work first.
        self._backlog.feed(self._pool, now)
        if self.opening:
            self._start_slot()
        if now >= self._next_watch:
            self._next_watch = now + AGENT_TICK_SECONDS
            self._watch(now)
            self._backlog.feed(self._pool, now)
        self._talk(now, asks, speaks)

    def pause_seconds(self, now: float) -> float:
        """Return the seconds that the agent may leave results in the pipes."""
        return 0.0 if self.opening else self._backlog.portion_seconds(now)

    # -- leases

    def granted(self, leases: list[Lease]) -> None:
        """Add leases that have arrived."""
        self._backlog.granted(leases, self._clock())

    def give_back(self, count: int = sys.maxsize) -> None:
        """Return up to `count` leases that no slot has started to the driver."""
        leases = self._backlog.give_back(self._pool, count)
        self._driver.send(Returned(round=self.number, leases=leases))

    def abandon(self, leases: set[int]) -> None:
        """Drop these leases, and kill the slots that run them."""
        self._backlog.forget(self._pool, leases)
        # A slot may have taken one and not yet recorded it: `_watch` looks for them again.
        self._unwanted |= leases
        self._end_unwanted()

    def _end_unwanted(self) -> None:
        for slot, record in self._pool.running():
            if record.lease in self._unwanted and slot.killed is None:
                self._pool.kill(slot, "abandoned", "no longer wanted", record)

    def _talk(self, now: float, asks: bool, speaks: bool) -> None:
        """Report and ask for leases together: messages cost the driver more than results."""
        report_at = self._driver.report_at
        due = speaks or (
            report_at is not None
            and (now >= report_at or not self._backlog.collects(self._driver.waiting))
        )
        wanted = self._backlog.wanted(now, anyway=due) if asks else 0
        if wanted:
            self._driver.send(Pull(round=self.number, count=wanted))
        elif due and report_at is not None:
            self._driver.report()

    # -- what slots say

    def read_slot(self, slot: Slot) -> None:
        """Process the messages of a slot; replace it if it has ended.

        Raises
        ------
        UnableError
            If the slot cannot load the search.
        """
        if slot not in self._pool.slots:
            return
        news, alive = self._pool.read_news(slot)
        for piece in news:
            if piece.round == self.number:
                if piece.refusal:
                    raise UnableError(f"the search cannot be loaded in a slot:\n{piece.refusal}")
                self._announce()
        self._take_news(news)
        if not alive:
            self._replace(slot)

    def read_last(self) -> None:
        """Collect the results that slots have sent, before the agent ends."""
        for slot in self._pool.slots:
            news, _ = self._pool.read_news(slot)
            self._take_news(news)

    def _take_news(self, news: Iterable[SlotNews]) -> None:
        self._take([piece.result for piece in news if piece.result])

    def _announce(self) -> None:
        # Announce the round with the first ready slot: the others follow or refuse.
        if not self._backlog.open:
            self._backlog.open = True
            self._driver.send(RoundReady(round=self.number))

    def _take(self, results: list[FitResult]) -> None:
        accepted = self._backlog.accept(results)
        if accepted:
            self._empty_deaths = 0
            self._driver.collect(accepted, REPORT_SECONDS)

    # -- slots that die

    def _watch(self, now: float) -> None:
        for slot in list(self._pool.slots):
            if self._pool.ended(slot):
                self.read_slot(slot)
        self._end_unwanted()
        self._guard.watch(self._pool, now)

    def _replace(self, slot: Slot) -> None:
        self._selector.unregister(slot.news)
        death = self._pool.reap(slot)
        self._tell_death(death)
        self._start_slot()

    def _tell_death(self, death: SlotDeath) -> None:
        lease = death.status.lease
        in_hand = self._backlog.slot_died(self._pool, lease, self._clock())
        if death.cause == "own":
            return
        if not lease:
            self._empty_deaths += 1
            self._driver.send(
                AgentLog(text=f"slot {death.index} ended between fits: {death.detail}")
            )
            if self._empty_deaths > EMPTY_DEATHS:
                raise UnableError(f"slots end before they run anything: {death.detail}")
        elif not in_hand or death.cause == "abandoned":
            return
        elif death.cause == "passed":
            self._driver.send(Returned(round=self.number, leases=[lease]))
        else:
            self._driver.send(
                SlotDied(
                    round=self.number,
                    lease=lease,
                    candidate=death.status.candidate,
                    slot=death.index,
                    cause=death.cause,
                    detail=death.detail,
                    peak_bytes=death.peak_bytes,
                    seconds=max(0.0, self._clock() - death.status.started),
                )
            )
