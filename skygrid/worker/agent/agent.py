"""The agent: one process on a node that asks for leases, hands them to slots and reports.

It has one thread and one selector. It fits nothing itself, so it always answers. It has no other
thread and starts no parallel region, so forking slots from it is safe.
"""

from __future__ import annotations

import os
import platform
import selectors
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import sklearn.model_selection  # noqa: F401  # imported once here, forked into every slot

from skygrid.worker.data.cache import BlobCache
from skygrid.worker.errors import UnableError
from skygrid.worker.evaluation.shared_folder import SharedFolder, forget_split, shared_folder
from skygrid.worker.limits import AGENT_TICK_SECONDS, ORPHANED_EXIT, RECEIVING_SECONDS
from skygrid.worker.machine import machine
from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.slots.orders import BLOBS
from skygrid.worker.slots.pool import Slot, SlotPool
from skygrid.worker.slots.reuse import SlotStarter
from skygrid.worker.wire.blobs import BlobError
from skygrid.worker.wire.frames import FrameError
from skygrid.worker.wire.messages.calls import FetchResult
from skygrid.worker.wire.messages.from_agent import (
    MOST_BLOBS,
    AgentLog,
    Bye,
    Greeting,
    Heartbeat,
    Leaving,
    Refusal,
)
from skygrid.worker.wire.messages.to_agent import (
    Abandon,
    Alive,
    Attach,
    BlobAt,
    BlobChunk,
    BlobOffer,
    CloseRound,
    DropBlobs,
    Forget,
    Grant,
    OpenRound,
    Recall,
    Setup,
    Stop,
)
from skygrid.worker.wire.protocol import PROTOCOL

from .calls import AgentCalls
from .data import AgentData
from .driver_link import DriverGone, DriverLink
from .guard import SlotGuard
from .notices import Notices
from .round import AgentRound


class AgentEnd(Exception):
    """The agent's loop is over."""


class Agent:
    """The agent's loop.

    Parameters
    ----------
    source, sink : int
        File descriptors: from the driver, to the driver.
    slots : int
        Fits at a time.
    threads : int
        BLAS and OpenMP threads for each slot.
    vcpus : int
        Processors that the slots share.
    cache : BlobCache, optional
        Keeps data for later runs.
    notices : int, optional
        File descriptor of a pipe on which a frame with `Leaving` (``encode(Leaving(...))``) arrives
        when the provider is about to take the machine away. Another process writes it, because the
        agent forks and must have one thread.
    orphan_after : float, optional
        Seconds without a message of the driver after which the agent ends; the driver sends `Alive`
        more often. None: the end of the input is enough.
    clock : callable, optional
        Returns the monotonic time.
    """

    def __init__(
        self,
        source: int,
        sink: int,
        *,
        slots: int,
        threads: int,
        vcpus: int,
        cache: BlobCache | None = None,
        notices: int | None = None,
        orphan_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._driver = DriverLink(source, sink, clock)
        self._count, self._threads, self._vcpus = slots, threads, vcpus
        self._selector = selectors.DefaultSelector()
        self._data = AgentData(cache, self._driver, self._selector)
        self._starter = SlotStarter(
            slots, threads, ThreadPools(threads), self._close_in_child, self._log
        )
        self._pool = SlotPool(slots, self._starter)
        self._round: AgentRound | None = None
        self._folder: SharedFolder | None = None
        self._notices = None if notices is None else Notices(notices)
        self._leaving: Leaving | None = None
        self._orphan_after = orphan_after
        self._driver_heard = clock()
        self._next_beat = 0.0
        self._forget_driver()

    def _forget_driver(self) -> None:
        """Reset the agent, except its blobs."""
        self._data.forget_driver()
        self._setup = Setup(protocol=PROTOCOL)
        self._stop_at: float | None = None

    def run(self) -> None:
        """Serve the driver until it sends `Stop` or is gone."""
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            # A handler of SIGTERM is that of `departure`.
            if ignored == signal.SIGINT or not callable(signal.getsignal(ignored)):
                signal.signal(ignored, signal.SIG_IGN)
        self._selector.register(self._driver.source, selectors.EVENT_READ, self._hear_driver)
        if self._notices is not None:
            self._selector.register(self._notices.source, selectors.EVENT_READ, self._hear_notice)
        try:
            self._serve()
        except (AgentEnd, DriverGone, BrokenPipeError, ConnectionResetError):
            pass  # normal ends: the driver is gone or has sent `Stop`
        except FrameError as error:
            sys.exit(f"skygrid.worker: the driver broke the protocol: {error}")
        finally:
            self._data.close()
            self._close_round()
            self._pool.close()

    def _serve(self) -> None:
        try:
            self._driver.send(self._greeting())
            self._starter.prepare()
            while True:
                self._turn()
        except UnableError as error:
            self._driver.send(Refusal(reason=str(error)))

    # -- the loop

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._pause()):
            if not isinstance(key.data, Slot):
                key.data()
            elif self._round is not None:
                self._round.read_slot(key.data)
        self._data.turn()
        now = self._clock()
        if self._orphan_after is not None and now > self._driver_heard + self._orphan_after:
            sys.exit(ORPHANED_EXIT)
        if self._stop_at is not None:
            self._stop_when_done(self._stop_at, now)
        with self._driver.together():
            if self._round is not None:
                self._round.turn(now, asks=self._takes_work, speaks=now >= self._next_beat)
            self._beat(now)
        pause = self._round.pause_seconds(now) if self._round is not None else 0.0
        if pause:
            time.sleep(pause)

    def _pause(self) -> float:
        if self._data.store.looking or (self._round is not None and self._round.opening):
            return 0.0
        report_at = self._driver.report_at
        if report_at is None:
            return AGENT_TICK_SECONDS
        return max(0.0, min(AGENT_TICK_SECONDS, report_at - self._clock()))

    @property
    def _takes_work(self) -> bool:
        return self._stop_at is None and self._leaving is None

    def _hear_driver(self) -> None:
        self._driver_heard = self._clock()
        for message in self._driver.read():
            self._obey(message)

    def _hear_notice(self) -> None:
        assert self._notices is not None
        notice = self._notices.read()
        if notice is not None and self._leaving is None:
            self._leaving = notice
            self._driver.send(notice)
            if self._round is not None:
                self._round.give_back()
        if self._notices.over:
            self._log(f"no more is heard of the machine: {self._notices.over}")
            self._selector.unregister(self._notices.source)
            self._notices.close()
            self._notices = None

    def _obey(self, message: Any) -> None:
        match message:
            case Grant():
                self._take_leases(message)
            case BlobChunk() | BlobAt():
                self._data.receive(message)
                # One read may unpack to many chunks and take a while: send heartbeats meanwhile.
                self._beat(self._clock())
            case BlobOffer():
                self._data.offered(message)
            case OpenRound():
                self._open(message)
            case FetchResult() | DropBlobs():
                self._obey_in_calls(message)
            case Recall() | Abandon() | Forget() | CloseRound() if self._round is not None:
                self._obey_in(self._round, message)
            case Stop():
                self._stop_at = self._clock() + message.grace_seconds
                if self._round is not None:
                    self._round.give_back()
            case Setup():
                self._setup = message
            case Alive():
                pass  # to be received is its purpose
            case Attach():
                self._attach()

    def _obey_in(self, round: AgentRound, message: Recall | Abandon | Forget | CloseRound) -> None:
        match message:
            case Recall():
                round.give_back(message.count)
            case Abandon():
                round.abandon(set(message.leases))
            case Forget() if message.round == round.number and self._folder is not None:
                for split in message.splits:
                    forget_split(self._folder.path, split)
            case CloseRound() if message.round == round.number:
                self._close_round()
                self._data.store.drop_adopted()

    def _obey_in_calls(self, message: FetchResult | DropBlobs) -> None:
        round = self._round if isinstance(self._round, AgentCalls) else None
        match message:
            case FetchResult() if round is not None and message.round == round.number:
                round.fetch(message.lease, message.offset)
            case DropBlobs():
                # The links first: they name descriptors, whose numbers are used again.
                if round is not None:
                    round.drop_blobs(message.names)
                self._data.store.drop(message.names)

    def _attach(self) -> None:
        """Serve another driver: drop the work of the previous one, keep complete data."""
        self._close_round()
        self._pool.clear()
        self._forget_driver()
        self._data.store.drop_partial()
        self._driver.send(self._greeting())
        if self._leaving is not None:
            self._driver.send(self._leaving)

    def _take_leases(self, grant: Grant) -> None:
        if self._round is None or grant.round != self._round.number:
            return
        if isinstance(self._round, AgentCalls):
            self._round.called(grant.leases, grant.calls)
        else:
            self._round.granted(grant.leases)
        if not self._takes_work:
            self._round.give_back()

    def _stop_when_done(self, stop_at: float, now: float) -> None:
        if self._round is not None:
            if not self._round.idle and now < stop_at:
                return
            self._round.read_last()
        self._driver.send(Bye())
        raise AgentEnd

    # -- reports about the node

    def _beat(self, now: float) -> None:
        pause = self._setup.heartbeat_seconds
        # Send it early if it can share a write with other messages.
        if now < self._next_beat - (pause / 2 if self._driver.speaking else 0.0):
            return
        beat = self._heartbeat()
        if beat.receiving is not None:
            pause = min(pause, RECEIVING_SECONDS)
        self._next_beat = now + pause
        self._driver.send(beat)

    def _log(self, text: str) -> None:
        self._driver.send(AgentLog(text=text))

    def _heartbeat(self) -> Heartbeat:
        running = self._round.running() if self._round else []
        return Heartbeat(
            busy=len(running),
            running=[record.lease for _, record in running],
            slots_bytes=self._round.slots_bytes if self._round else 0,
            load=machine.load_average(),
            receiving=self._data.store.receiving,
        )

    def _greeting(self) -> Greeting:
        return Greeting(
            protocol=PROTOCOL,
            versions=machine.versions(),
            host=platform.node(),
            cpu=machine.cpu_model(),
            machine=platform.machine(),
            vcpus=self._vcpus,
            memory_bytes=machine.memory_bytes(),
            slots=self._count,
            threads_per_slot=self._threads,
            pid=os.getpid(),
            blobs=self._data.store.complete[:MOST_BLOBS],
        )

    # -- a round

    def _open(self, order: OpenRound) -> None:
        self._close_round()
        self._data.store.keep_only({order.data, order.search, order.plan, *order.blobs})
        self._folder = shared_folder() if order.keeps else None
        folder = str(self._folder.path) if self._folder else None
        try:
            files = {name: self._data.store.file(getattr(order, name)) for name in BLOBS}
        except BlobError as error:
            raise UnableError(f"the round cannot be opened on this node: {error}") from error
        if self._starter.open(files, folder, self._setup.start_method, order.environment):
            self._pool.clear()
        self._pool.open_round(order.round, [files[name] for name in BLOBS], folder)
        kept = self._folder.path if self._folder else None
        guard = SlotGuard(self._setup, kept, self._clock)
        round = (
            order.round,
            self._pool,
            self._count,
            guard,
            self._driver,
            self._selector,
            self._clock,
        )
        if order.calls:
            if kept is None:
                raise UnableError("there is no room on this node for the arguments of calls")
            self._round = AgentCalls(*round, folder=kept, data=self._data)
        else:
            self._round = AgentRound(*round)

    def _close_in_child(self) -> None:
        self._driver.close_in_child()
        if self._notices is not None:
            self._notices.close()
        self._selector.close()
        if self._folder is not None:
            self._folder.close_in_child()
        self._data.store.close_in_child()
        self._pool.close_in_child()

    def _close_round(self) -> None:
        if self._round is not None:
            free = self._round.close()
            self._round = None
            self._driver.begin(-1)
            # Free the agent's round first: slots compare their memory with the agent's.
            self._starter.close()
            if free:
                self._pool.end_round()
            else:
                self._pool.clear()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None
