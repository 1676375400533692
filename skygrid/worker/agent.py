"""The agent: one process on a node that asks for work, hands it to slots and reports.

One thread, one selector. The agent itself never fits anything, so it always answers; and as it has
no other thread and starts no parallel region, forking slots from it is safe.
"""

from __future__ import annotations

import os
import platform
import select
import selectors
import signal
import sys
import time
import traceback
from typing import Any, NoReturn

import sklearn.model_selection  # noqa: F401  # imported once here, forked into every slot

from . import machine
from .backlog import REPORT_SECONDS, Backlog
from .blobs import BlobError
from .cache import BlobCache, size_text
from .frames import FrameError, FrameReader, encode
from .messages import (
    PROTOCOL,
    Abandon,
    AgentLog,
    Attach,
    BlobAt,
    BlobChunk,
    BlobOffer,
    Bye,
    FitResult,
    Grant,
    Greeting,
    Heartbeat,
    OpenRound,
    Pull,
    Recall,
    Refusal,
    Report,
    Returned,
    RoundReady,
    Setup,
    SlotDied,
    Stop,
    ToAgent,
)
from .slot import load_evaluator
from .slots import Slot, SlotDeath, SlotPool, forking, slot_died_at_start, spawning
from .store import BlobStore

TICK_SECONDS = 0.1
RECEIVING_SECONDS = 0.5
"""Between heartbeats while data comes, at the most: somebody watches it."""

PORTION_SECONDS = 0.01
"""How long results of brisk fits collect before the agent reads them."""

MEMORY_SHARE = 0.9
"""Of the node's memory, for all slots together, when the driver sets no limit."""

GUARD_SHARE = 0.05
"""Of its time, at the most, an agent spends on finding out how much memory slots really hold."""

EMPTY_DEATHS = 5
"""Slots that may die one after another without having run anything before the agent gives up."""


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
        Where data is kept for later runs.
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
    ) -> None:
        self._source, self._sink = source, sink
        self._count, self._threads, self._vcpus = slots, threads, vcpus
        self._reader = FrameReader(ToAgent)
        self._selector = selectors.DefaultSelector()
        if cache is not None:
            cache.tidy()
        self._store = BlobStore(cache)
        self._pool: SlotPool | None = None
        self._next_beat = 0.0
        self._next_watch = 0.0
        self._next_guard = 0.0
        self._forget_driver()

    def _forget_driver(self) -> None:
        """Be as at the start, but for the blobs."""
        self._setup = Setup(protocol=PROTOCOL)
        self._round = -1
        self._backlog = Backlog(self._count)
        self._unwanted: set[int] = set()
        self._unreported: list[FitResult] = []
        self._report_at = 0.0
        self._empty_deaths = 0
        self._stop_at: float | None = None

    def run(self) -> None:
        """Serve the driver until it says stop or is gone."""
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        self._selector.register(self._source, selectors.EVENT_READ, None)
        try:
            self._send(self._greeting())
            while True:
                self._turn()
        except (AgentEnd, BrokenPipeError, ConnectionResetError):
            pass  # the driver is gone, or has said stop: both end here, with no slot left
        except FrameError as error:
            sys.exit(f"skygrid.worker: the driver broke the protocol: {error}")
        finally:
            if self._pool:
                self._pool.close()

    # -- the loop

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._pause()):
            if key.data is None:
                self._read_driver()
            elif key.data in self._slots():
                self._read_slot(key.data)
        if self._store.looking:
            self._look()
        now = time.monotonic()
        if self._stop_at is not None:
            self._stop_when_done(self._stop_at, now)
        if self._pool:
            if now >= self._next_watch:
                self._next_watch = now + TICK_SECONDS
                self._watch(self._pool, now)
            self._backlog.feed(self._pool, now)
            self._talk(now)
            if self._backlog.brisk:
                # Results wait in the pipes meanwhile, and slots have work in hand.
                time.sleep(PORTION_SECONDS)
        self._beat(now)

    def _beat(self, now: float) -> None:
        if now >= self._next_beat:
            beat = self._heartbeat()
            pause = self._setup.heartbeat_seconds
            if beat.receiving is not None:
                pause = min(pause, RECEIVING_SECONDS)
            self._next_beat = now + pause
            self._send(beat)

    def _pause(self) -> float:
        if self._store.looking:
            return 0.0
        if not self._unreported:
            return TICK_SECONDS
        return max(0.0, min(TICK_SECONDS, self._report_at - time.monotonic()))

    def _slots(self) -> list[Slot]:
        return self._pool.slots if self._pool else []

    def _read_driver(self) -> None:
        try:
            data = os.read(self._source, 1 << 20)
        except BlockingIOError:
            return  # whoever made the channel made it non-blocking
        if not data:
            raise AgentEnd
        for message in self._reader.feed(data):
            self._obey(message)

    def _obey(self, message: Any) -> None:
        match message:
            case Grant() if message.round == self._round:
                self._backlog.granted(message.leases, time.monotonic())
                if self._stop_at is not None:
                    self._give_back(sys.maxsize)
            case BlobChunk() | BlobAt():
                self._receive(message)
            case BlobOffer():
                self._offered(message)
            case OpenRound():
                self._open(message)
            case Recall():
                self._give_back(message.count)
            case Abandon():
                self._abandon(set(message.leases))
            case Stop():
                self._give_back(sys.maxsize)
                self._stop_at = time.monotonic() + message.grace_seconds
            case Setup():
                self._setup = message
            case Attach():
                self._attach()

    def _attach(self) -> None:
        """Another driver: nothing of what the last one had in hand here is of use to it."""
        self._close_pool()
        self._forget_driver()
        self._store.drop_partial()
        self._send(self._greeting())

    def _send(self, message: Any) -> None:
        # Results first: whoever hears of a lease again has heard how its fit ended.
        self._write(self._report_frames() + encode(message))

    def _write(self, frame: bytes) -> None:
        data = memoryview(frame)
        while data:
            try:
                data = data[os.write(self._sink, data) :]
            except BlockingIOError:
                select.select([], [self._sink], [])

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
            blobs=self._store.complete,
        )

    def _heartbeat(self) -> Heartbeat:
        running = self._pool.running() if self._pool else []
        return Heartbeat(
            busy=len(running),
            running=[record.lease for _, record in running],
            slots_bytes=sum(self._pool.private_bytes().values()) if self._pool else 0,
            load=machine.load_average(),
            receiving=self._store.receiving,
        )

    # -- a round

    def _offered(self, offer: BlobOffer) -> None:
        # Slots share the pages of X, but each fit takes its rows out of it, into memory of its
        # own: where there is no room for X once, there is none for a single fit.
        held = offer.digest in self._store.complete
        available = machine.available_bytes()
        if not held and available is not None and available < offer.size:
            self._refuse(
                f"host {platform.node()} has {size_text(available)} of memory left and the data "
                f"takes {size_text(offer.size)}: end what else runs there, or leave the host out"
            )
        self._store.offer(offer)

    def _look(self) -> None:
        try:
            answer = self._store.look()
        except BlobError as error:
            self._refuse(str(error))
        if answer is not None:
            self._send(answer)

    def _receive(self, blob: BlobChunk | BlobAt) -> None:
        try:
            if isinstance(blob, BlobAt):
                self._store.adopt(blob)
            elif answer := self._store.receive(blob):
                self._send(answer)
        except BlobError as error:
            self._refuse(str(error))
        # What is read at a time may unpack to much more, and take a while.
        self._beat(time.monotonic())

    def _open(self, order: OpenRound) -> None:
        self._close_pool()
        self._store.keep_only({order.data, order.search, order.plan})
        self._round = order.round
        self._backlog = Backlog(self._count)
        self._unwanted = set()
        self._unreported = []
        try:
            self._pool = SlotPool(self._count, self._starter(order))
            self._pool.open()
        except BaseException:  # noqa: BLE001 (a module of the user's that calls sys.exit, for one)
            self._refuse(f"the search cannot be loaded on this node:\n{traceback.format_exc()}")
        for slot in self._slots():
            self._selector.register(slot.news, selectors.EVENT_READ, slot)

    def _starter(self, order: OpenRound) -> Any:
        files = {
            name: self._store.file(digest)
            for name, digest in (
                ("data", order.data),
                ("search", order.search),
                ("plan", order.plan),
            )
        }
        method = self._setup.start_method
        if method == "spawn" or (method == "auto" and sys.platform != "linux"):
            return spawning(self._count, self._threads, files)
        before = machine.threads()
        evaluator = load_evaluator(files["data"], files["search"], files["plan"])
        if method == "auto" and machine.threads() > before:
            # Their locks, copied while held, could stop a forked slot for good.
            self._send(AgentLog(text="loading the search started threads: slots are spawned"))
            return spawning(self._count, self._threads, files)
        return forking(evaluator, self._threads, self._close_in_child)

    def _close_in_child(self) -> None:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self._source)
        os.close(nothing)
        os.close(self._sink)
        self._selector.close()
        if self._pool:
            self._pool.close_in_child()

    def _close_pool(self) -> None:
        if self._pool:
            for slot in self._pool.slots:
                self._selector.unregister(slot.news)
            self._pool.close()
            self._pool = None

    def _refuse(self, reason: str) -> NoReturn:
        self._send(Refusal(reason=reason))
        raise AgentEnd

    # -- work in, results out

    def _read_slot(self, slot: Slot) -> None:
        assert self._pool
        news, alive = self._pool.read_news(slot)
        for piece in news:
            if piece.refusal:
                self._refuse(f"the search cannot be loaded in a slot:\n{piece.refusal}")
            if piece.ready:
                self._slot_ready(slot)
        self._take([p.result for p in news if p.result])
        if not alive:
            self._replace(self._pool, slot)

    def _slot_ready(self, slot: Slot) -> None:
        slot.ready = True
        # The round is announced once; slots that replace dead ones come up unannounced.
        if all(other.ready for other in self._slots()) and not self._backlog.open:
            self._backlog.open = True
            self._send(RoundReady(round=self._round))

    def _take(self, results: list[FitResult]) -> None:
        accepted = self._backlog.accept(results)
        if accepted:
            self._empty_deaths = 0
        if not self._unreported:
            self._report_at = time.monotonic() + REPORT_SECONDS
        self._unreported += accepted

    def _talk(self, now: float) -> None:
        """Report and ask for more, both at once: messages cost the driver more than results."""
        due = bool(self._unreported) and (now >= self._report_at or not self._backlog.collects)
        wanted = 0 if self._stop_at is not None else self._backlog.wanted(now, anyway=due)
        if wanted:
            self._send(Pull(round=self._round, count=wanted))
        elif due:
            self._write(self._report_frames())

    def _report_frames(self) -> bytes:
        results, self._unreported = self._unreported, []
        return _frames_of(self._round, results) if results else b""

    def _give_back(self, count: int) -> None:
        leases = self._backlog.give_back(self._pool, count) if self._pool else []
        self._send(Returned(round=self._round, leases=leases))

    def _abandon(self, leases: set[int]) -> None:
        if not self._pool:
            return
        self._backlog.forget(self._pool, leases)
        # A slot may have taken one of them and not said so yet: looked for again at every watch.
        self._unwanted |= leases
        self._end_unwanted(self._pool)

    def _end_unwanted(self, pool: SlotPool) -> None:
        for slot, record in pool.running():
            if record.lease in self._unwanted and slot.killed is None:
                pool.kill(slot, "abandoned", "no longer wanted", record.lease)

    def _stop_when_done(self, stop_at: float, now: float) -> None:
        if not self._backlog.empty and now < stop_at:
            return
        for slot in self._slots():
            assert self._pool
            news, _ = self._pool.read_news(slot)
            self._take([p.result for p in news if p.result])
        self._send(Bye())
        raise AgentEnd

    # -- slots that die

    def _watch(self, pool: SlotPool, now: float) -> None:
        for slot in list(pool.slots):
            if pool.ended(slot):
                self._read_slot(slot)
        self._end_unwanted(pool)
        timeout = self._setup.fit_timeout_seconds
        if timeout is not None:
            for slot, record in pool.running():
                if now - record.started > timeout and slot.killed is None:
                    detail = f"took longer than {timeout:g} s"
                    pool.kill(slot, "timeout", detail, record.lease)
        self._guard_memory(pool, now)

    def _guard_memory(self, pool: SlotPool, now: float) -> None:
        limit = self._memory_limit
        # The quick measure counts pages that forked slots share once for each of them.
        if now < self._next_guard or sum(pool.private_bytes().values()) <= limit:
            return
        begin = time.monotonic()
        used = pool.unshared_bytes()
        self._next_guard = now + (time.monotonic() - begin) / GUARD_SHARE
        running = [(used[slot.index], slot, record) for slot, record in pool.running()]
        if sum(used.values()) <= limit or not running:
            return
        largest, slot, record = max(running, key=lambda entry: entry[0])
        if slot.killed is None:
            detail = (
                f"held {largest / 2**30:.2f} GiB when the slots of this node together "
                f"passed {limit / 2**30:.2f} GiB"
            )
            pool.kill(slot, "memory", detail, record.lease)

    @property
    def _memory_limit(self) -> int:
        return self._setup.memory_limit_bytes or int(machine.memory_bytes() * MEMORY_SHARE)

    def _replace(self, pool: SlotPool, slot: Slot) -> None:
        self._selector.unregister(slot.news)
        death = pool.bury(slot)
        if slot_died_at_start(death):
            self._refuse("a slot could not load the search")
        self._tell_death(death)
        fresh = pool.replace(slot)
        self._selector.register(fresh.news, selectors.EVENT_READ, fresh)

    def _tell_death(self, death: SlotDeath) -> None:
        assert self._pool
        lease = death.status.lease
        in_hand = self._backlog.slot_died(self._pool, lease, time.monotonic())
        if not lease:
            self._empty_deaths += 1
            self._send(AgentLog(text=f"slot {death.index} ended between fits: {death.detail}"))
            if self._empty_deaths > EMPTY_DEATHS:
                self._refuse(f"slots end before they run anything: {death.detail}")
        elif in_hand and death.cause != "abandoned":
            self._send(
                SlotDied(
                    round=self._round,
                    lease=lease,
                    slot=death.index,
                    cause=death.cause,
                    detail=death.detail,
                    peak_bytes=death.peak_bytes,
                    seconds=max(0.0, time.monotonic() - death.status.started),
                )
            )


def _frames_of(round: int, results: list[FitResult]) -> bytes:
    try:
        return encode(Report(round=round, results=results))
    except FrameError:
        # Many long tracebacks together; each by itself is far below the limit.
        half = len(results) // 2
        return _frames_of(round, results[:half]) + _frames_of(round, results[half:])
