"""The engine for our own nodes: agents pull leases from one queue, owned by one thread.

Every message of every node meets in one inbox. The thread that calls `run_round` empties it, and is
the only one that touches the queue, the journal's callback and the listener.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from skygrid.engines.handshake import check_greeting
from skygrid.engines.link import Event, Gone, Link, NodeLog, NodeState, printable
from skygrid.engines.open_round import RoundInProgress, is_honest
from skygrid.errors import (
    BudgetReachedError,
    HandshakeError,
    InterruptedRunError,
    NodeError,
    ProtocolError,
    SkygridError,
    UsageError,
)
from skygrid.listener import Listener
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.providers.interface import Provider
from skygrid.queue.answers import Quarantine, Verdict
from skygrid.queue.work_queue import WorkQueue
from skygrid.worker import machine
from skygrid.worker.blobs import Blob
from skygrid.worker.messages import (
    PROTOCOL,
    Abandon,
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
)

HOUSEKEEPING_SECONDS = 0.25
STOP_GRACE_SECONDS = 1.0
"""How long fits that run may go on once a run was told to stop."""

MAX_REPLACEMENTS = 5
"""How often one node may be lost and had again without having reported anything in between."""

EVENTS_AT_ONCE = 1000

MOST_IN_HAND = 100_000
"""Leases that a node may ask for at a time, whatever it says."""

OF_THE_LINK = (Gone, NodeState, Heartbeat)
"""Events that need no room in the inbox, because there are never many."""

BEFORE_GREETING = (Greeting, Refusal, Gone, NodeState)
"""What a node may say before its versions are known to be the driver's own."""


class FitRaised(Exception):
    """A fit raised what scikit-learn would have raised out of ``search.fit``."""

    def __init__(self, candidate: int, split: int, result: FitResult) -> None:
        super().__init__(candidate, split)
        self.candidate, self.split, self.result = candidate, split, result


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What the engine passes on to agents, and when it stops."""

    fit_timeout_seconds: float | None = None
    start_method: str = "auto"
    memory_limit_bytes: int | None = None
    silence_seconds: float = 300.0
    """How long a node may say nothing while it starts or makes ready, before it is lost. It may
    be busy unpickling; once it works, its leases expire much sooner."""

    min_nodes: int = 1
    """Fits start when so many nodes have said what they are; fewer that can be had end the run."""

    deadline: float | None = None
    """Monotonic time at which no more fits are started (``--max-hours``)."""


class PullEngine:
    """Runs rounds on the nodes of a provider.

    Parameters
    ----------
    provider : Provider
    settings : EngineSettings
    listener : Listener
    """

    def __init__(self, provider: Provider, settings: EngineSettings, listener: Listener) -> None:
        self._provider = provider
        self._settings = settings
        self._listener = listener
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()
        self._links: dict[str, Link] = {}
        self._logs: dict[str, NodeLog] = {}
        self._replaced: dict[str, int] = {}
        self._missing: dict[str, str] = {}
        """Nodes that could not be had, and why."""

        self._search: tuple[Blob, Blob] | None = None
        self._open: RoundInProgress | None = None
        self._serial = -1
        self._interrupted = False
        self._running = False
        self._versions = machine.versions()
        self.at_hand = provider.at_hand
        self.greetings: dict[str, Greeting] = {}
        self.slot_deaths = 0
        """How often a fit took its slot down."""

    # -- life

    def start(self) -> None:
        """Start every node; returns at once, nodes come up while the search is still loading."""
        self._running = True
        for name in self._provider.names():
            self._launch(name)

    def keep_logs(self, folder: Path) -> None:
        """Write the nodes' logs into this folder, as ``NODE.log``."""
        for name, log in self._logs.items():
            log.open(folder / f"{name}.log")

    def equip(self, imported: Collection[str]) -> None:
        """The search has imported these modules; nodes can be made ready for it."""
        self._provider.equip(imported)

    def use(self, data: Blob, search: Blob) -> None:
        """The data and the search that all following rounds are about."""
        self._search = (data, search)

    def interrupt(self) -> bool:
        """Stop the round that runs. May be called from a signal handler or another thread.

        Returns
        -------
        running : bool
            Whether a round runs; otherwise there is nothing to stop.
        """
        if self._open is None:
            return False
        self._interrupted = True
        self._inbox.put(None)
        return True

    def kill(self) -> None:
        """End every agent at once, without a word. May be called from a signal handler."""
        for link in self._links.values():
            link.transport.kill()

    def close(self) -> None:
        """End every node."""
        self._running = False
        links = list(self._links.values())
        if links:
            # A node that is out of reach is given a moment; not one node after the other.
            with ThreadPoolExecutor(len(links), thread_name_prefix="close") as pool:
                list(pool.map(Link.close, links))
        for link in links:
            self._listener.node_changed(link.name, "gone")
        self._links = {}
        for log in self._logs.values():
            log.close()

    def _launch(self, name: str) -> None:
        log = self._logs.setdefault(name, NodeLog())
        link = Link(name, self._provider.transport, self._inbox, log)
        self._links[name] = link
        self._listener.node_changed(name, "starting")
        link.start()

    # -- a round

    def run_round(
        self,
        plan: RoundPlan,
        queue: WorkQueue,
        record: Callable[[Sequence[Outcome]], None],
    ) -> None:
        """Run every task of the queue.

        Parameters
        ----------
        plan : RoundPlan
        queue : WorkQueue
            Of this round, without what the journal already holds.
        record : callable
            Takes outcomes and returns when they are on disk.

        Raises
        ------
        FitRaised
            If a fit raised and the search is to raise it.
        NodeError
            If no node is left.
        InterruptedRunError, BudgetReachedError
            If the run was told to stop; what had ended is recorded.
        """
        blob = Blob({"candidates": list(plan.candidates), "splits": list(plan.splits)})
        self._serial += 1
        self._open = RoundInProgress(
            serial=self._serial,
            plan=plan,
            blob=blob,
            queue=queue,
            record=record,
            listener=self._listener,
        )
        try:
            if not self._running:
                raise UsageError("no nodes run: use the cluster inside its `with` statement")
            if not self._links:
                self.start()  # an earlier search lost them all
            for link in self._links.values():
                self._open_on(link)
            self._loop(self._open)
        except (InterruptedRunError, BudgetReachedError):
            self._wind_down(self._open)
            raise
        finally:
            self._open.record_all()
            self._open = None

    def _loop(self, work: RoundInProgress) -> None:
        housekeeping = 0.0
        while not work.queue.finished:
            self._check_stop()
            for event in self._events(work.wait_seconds or HOUSEKEEPING_SECONDS):
                self._handle(event, work)
            now = time.monotonic()
            if now >= housekeeping:
                housekeeping = now + HOUSEKEEPING_SECONDS
                self._keep_house(work, now)
            self._serve_hungry(work, now)
            work.record_due(now)

    def _check_stop(self) -> None:
        if self._interrupted:
            raise InterruptedRunError("interrupted")
        if self._settings.deadline is not None and time.monotonic() >= self._settings.deadline:
            raise BudgetReachedError("the time that --max-hours allows is over")

    def _events(self, wait: float) -> Iterator[Event]:
        try:
            event = self._inbox.get(timeout=wait)
            for _ in range(EVENTS_AT_ONCE):
                if event is None:
                    return
                if not isinstance(event.message, OF_THE_LINK):
                    event.link.took()
                yield event
                event = self._inbox.get_nowait()
        except Empty:
            return

    def _keep_house(self, work: RoundInProgress, now: float) -> None:
        for link in self._links.values():
            if link.transport.mending():
                work.queue.renew(link.name, now)
        for name in work.queue.expire(now):
            if name in self._links:
                self._lose(self._links[name], Gone("it fell silent"), work)
        for link in list(self._links.values()):
            silence, starting = now - link.heard, link.ready_round != work.serial
            if link.up and starting and silence > self._settings.silence_seconds:
                self._lose(link, Gone(f"it said nothing for {silence:.0f} s"), work)
        for name, count in work.queue.recall(now):
            self._links[name].send(Recall(count=count))
        for quarantine in work.queue.take_quarantined():
            work.give_up(quarantine, quarantine.reason)

    def _serve_hungry(self, work: RoundInProgress, now: float) -> None:
        if len(self.greetings) < self._settings.min_nodes:
            return
        hungry = [n for n in self._links.values() if n.wanted and n.ready_round == work.serial]
        # The emptiest first: what one node gave back for another must not go straight back to it.
        for link in sorted(hungry, key=lambda link: link.in_hand):
            # No more than its share at a time, or the first one to come takes everything.
            share = -(-work.queue.pending // len(self._links)) or link.wanted
            slots = link.greeting.slots if link.greeting else 0
            leases = work.queue.pull(link.name, min(share, link.wanted), now, slots)
            if leases:
                link.wanted = 0
                link.in_hand += len(leases)
                link.granted += len(leases)
                link.send(Grant(round=work.serial, leases=leases))

    # -- messages

    def _handle(self, event: Event, work: RoundInProgress) -> None:
        link, message = event.link, event.message
        if self._links.get(link.name) is not link:
            return  # a node that was given up: what it still says is of no concern
        now = link.heard = time.monotonic()
        if link.greeting is None and not isinstance(message, BEFORE_GREETING):
            self._lose(link, Gone("it spoke before it had said what it is"), work)
            return
        work.queue.renew(link.name, now)
        match message:
            case Report() | Pull() | Returned() | SlotDied():
                if message.round == work.serial:
                    self._handle_leases(link, message, work, now)
            case Heartbeat():
                beat = link.take_beat()
                work.queue.started(link.name, beat.running, now)
                self._listener.node_beat(link.name, beat)
                if link.ready_round != work.serial:
                    self._tell_transfer(link, beat)
            case Greeting():
                self._greet(link, message, work)
            case RoundReady():
                link.ready_round = message.round
                self._listener.node_changed(link.name, "working")
            case Refusal():
                reason = printable(message.reason)
                refused = Gone(reason, NodeError(reason))
                self._lose(link, refused, work, replace=False)
            case NodeState():
                works = message.text == "connected" and link.ready_round == work.serial
                self._listener.node_changed(link.name, "working" if works else message.text)
            case Gone():
                # What a new agent there could not mend: no way to the host, or not ready for one.
                final = isinstance(message.error, NodeError) and not isinstance(
                    message.error, ProtocolError
                )
                self._lose(link, message, work, replace=not final)

    def _handle_leases(
        self,
        link: Link,
        message: Report | Pull | Returned | SlotDied,
        work: RoundInProgress,
        now: float,
    ) -> None:
        match message:
            case Report():
                link.in_hand -= len(message.results)
                self._take_report(link, message, work, now)
            case Pull():
                link.wanted = min(message.count, MOST_IN_HAND)
            case Returned():
                link.in_hand -= len(message.leases)
                work.queue.returned(link.name, message.leases, now)
            case SlotDied():
                link.in_hand -= 1
                self._take_death(link, message, work, now)

    def _greet(self, link: Link, greeting: Greeting, work: RoundInProgress) -> None:
        try:
            check_greeting(link.name, greeting, self._versions)
        except HandshakeError as error:
            self._lose(link, Gone(str(error), error), work, replace=False)
            return
        link.greeting = greeting
        link.holds_blobs(greeting.blobs)
        self.greetings[link.name] = greeting
        self._listener.node_greeted(link.name, greeting)
        link.send(
            Setup(
                protocol=PROTOCOL,
                fit_timeout_seconds=self._settings.fit_timeout_seconds,
                start_method=self._settings.start_method,  # type: ignore[arg-type]
                memory_limit_bytes=self._settings.memory_limit_bytes,
            )
        )
        self._open_on(link)

    def _open_on(self, link: Link) -> None:
        if link.greeting is None or self._open is None or self._search is None:
            return
        if link.opened_round == self._open.serial:
            return
        link.opened_round = self._open.serial
        link.wanted = link.in_hand = 0
        self._listener.node_changed(link.name, "receiving")
        data = link.send_blob(self._search[0], offered=True)
        search, plan = map(link.send_blob, (self._search[1], self._open.blob))
        link.send(OpenRound(round=self._open.serial, data=data, search=search, plan=plan))
        link.keep_blobs({data, search, plan})

    def _tell_transfer(self, link: Link, beat: Heartbeat) -> None:
        if beat.receiving is not None:
            percent = f"{100 * beat.receiving:.0f} %"
            self._listener.node_changed(link.name, f"receiving {percent}")
        elif link.receives:
            self._listener.node_changed(link.name, "loading")
        link.receives = beat.receiving is not None

    def _take_report(self, link: Link, report: Report, work: RoundInProgress, now: float) -> None:
        self._replaced[link.name] = 0
        finished_at = time.time()
        for result in report.results:
            if not is_honest(result):
                self._lose(link, Gone("it sent scores that are none"), work)
                return
            seconds = result.fit_seconds + result.score_seconds
            done = work.queue.complete(link.name, result.lease, seconds, now)
            for name, lease in done.abandon:
                self._links[name].send(Abandon(leases=[lease]))
            if done.verdict is Verdict.UNKNOWN and done.candidate < 0:
                lie = Gone("it reported a fit that it was never given")
                self._lose(link, lie, work, replace=False)
                return
            if done.verdict is not Verdict.FIRST:
                link.node_log.write(f"{done.verdict.value} result dropped\n".encode())
                continue
            if result.status == "raised":
                raise FitRaised(done.candidate, done.split, result)
            work.take(link.name, result, done, finished_at)

    def _take_death(self, link: Link, death: SlotDied, work: RoundInProgress, now: float) -> None:
        answer = work.queue.slot_died(link.name, death.lease, death.cause, now)
        if answer is None:
            return
        self.slot_deaths += 1
        detail = f"{death.cause}: {death.detail}, {death.peak_bytes / 2**20:.0f} MiB at its peak"
        link.node_log.write(
            f"slot {death.slot} ended under candidate {answer.candidate}, split {answer.split}, "
            f"attempt {answer.attempt}: {detail}\n".encode()
        )
        self._listener.attempt_failed(link.name, answer.candidate, answer.split, detail)
        if isinstance(answer, Quarantine):
            reason = f"{answer.reason}; the last time: {detail}"
            work.give_up(answer, reason, slot=death.slot, seconds=death.seconds)

    # -- nodes that are lost

    def _lose(self, link: Link, gone: Gone, work: RoundInProgress, *, replace: bool = True) -> None:
        """Go on without a node, or with a fresh one in its place."""
        log, name = link.node_log, link.name
        last_words = "" if isinstance(gone.error, HandshakeError | ProtocolError) else log.tail()
        work.queue.node_lost(name, time.monotonic())
        self._drop(link)
        log.write(f"node {name} was lost: {gone.reason}\n".encode())
        self._listener.node_lost(name, gone.reason)
        losses = self._replaced[name] = self._replaced.get(name, 0) + 1
        if replace and self._provider.replaceable(name) and losses <= MAX_REPLACEMENTS:
            self._launch(name)
        elif name not in self.greetings:
            self._do_without(name, "\n".join(filter(None, (gone.reason, last_words))), gone.error)
        if not self._links:
            raise NodeError(
                f"no node is left; the last one, {name}, was lost: {gone.reason}\n"
                f"{last_words}".strip()
            )

    def _do_without(self, name: str, reason: str, error: SkygridError | None) -> None:
        """A node could not be had at all: enough others have to be there."""
        self._missing[name] = reason
        there = len(self._links) + len(self._missing)
        if len(self._links) >= self._settings.min_nodes:
            return
        if there == 1 and error is not None:
            raise error
        told = "\n".join(f"{name}: {why}" for name, why in self._missing.items())
        raise NodeError(
            f"{len(self._links)} of {there} nodes can be had, and the run is to have at least "
            f"{self._settings.min_nodes} (min_nodes)\n{told}"
        )

    def _drop(self, link: Link) -> None:
        # Killed first: an agent that is stopped or stuck would not notice its channel's end.
        link.transport.kill()
        link.close()
        del self._links[link.name]

    # -- stopping

    def _wind_down(self, work: RoundInProgress) -> None:
        """Give running fits a moment, take what has ended, end the nodes."""
        for link in self._links.values():
            link.send(Stop(grace_seconds=STOP_GRACE_SECONDS))
        leaving = set(self._links.values())
        until = time.monotonic() + STOP_GRACE_SECONDS + 2.0
        while leaving and time.monotonic() < until:
            for event in self._events(0.1):
                if isinstance(event.message, Bye | Gone):
                    leaving.discard(event.link)
                elif isinstance(event.message, Report):
                    self._take_last_report(event, work)

    def _take_last_report(self, event: Event, work: RoundInProgress) -> None:
        try:
            self._handle(event, work)
        except FitRaised:
            return  # the run ends anyway, and a fit that raised is not recorded
