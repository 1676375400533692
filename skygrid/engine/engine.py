"""The engine for skygrid's own nodes: agents pull leases from one queue, owned by one thread.

Messages of all nodes go to one inbox. The thread that calls `run_round` empties it, and alone
touches the queue, the journal's callback and the listener. Threads take turns, one round each. An
engine keeps no state of a round, so rounds of different searches may follow each other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from skygrid.config import limits
from skygrid.engine.calls import CallRound
from skygrid.engine.garbage import only_new_garbage
from skygrid.engine.link import Link
from skygrid.engine.node_events import Cure, Event, Gone, LinkFailure, NodeState
from skygrid.engine.onboarding import Onboarding
from skygrid.engine.report_handler import FitRaised, ReportHandler
from skygrid.engine.roster import Roster
from skygrid.engine.round import Round, RoundBlobs, RoundInProgress
from skygrid.engine.settings import EngineSettings
from skygrid.engine.turns import Turns
from skygrid.errors import (
    BudgetReachedError,
    InterruptedRunError,
    NodeError,
    ProtocolError,
)
from skygrid.listener import Listener
from skygrid.nodes.interface import Provider
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.queue.work_queue import WorkQueue
from skygrid.util.terminal import printable
from skygrid.worker.wire.messages.calls import CallReport, ResultPart
from skygrid.worker.wire.messages.from_agent import (
    Bye,
    Greeting,
    Heartbeat,
    Leaving,
    Pull,
    Refusal,
    Returned,
    RoundReady,
    SlotDied,
)
from skygrid.worker.wire.messages.results import Report
from skygrid.worker.wire.messages.to_agent import Forget, Recall, Stop

LOGGER = logging.getLogger(__name__)

EVENTS_AT_ONCE = 1000

UNLIMITED = (Gone, NodeState, Heartbeat)
"""Events that take no place in the inbox's limit, because they are always few."""

BEFORE_GREETING = (Greeting, Refusal, Gone, NodeState)
"""Messages accepted before the node's versions have been checked."""


class PullEngine:
    """Runs rounds on the nodes of a provider."""

    def __init__(self, provider: Provider, settings: EngineSettings, listener: Listener) -> None:
        self._provider = provider
        self._settings = settings
        self._listener = listener
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()
        self._roster = Roster(
            provider, settings.min_nodes, listener, self._inbox, settings.may_not_start
        )
        self._onboarding = Onboarding(settings, listener)
        self._reports = ReportHandler(self._roster, listener)
        self._open: Round | None = None
        self._serial = -1
        self._interrupted = False
        self._next_stop_check = 0.0
        self._turns = Turns(self.wake)
        self.shares_modules = provider.shares_modules

    # -- life

    def start(self, *, at_once: bool = True) -> None:
        """Start every node and return at once; nodes start while the search is still loading.

        Parameters
        ----------
        at_once : bool, default=True
            False: start them with the first round.
        """
        self._turns.open()
        if at_once:
            self._roster.start()

    def keep_logs(self, folder: Path) -> None:
        """Write the nodes' logs into this folder, as ``NODE.log``."""
        self._roster.keep_logs(folder)

    def set_modules(self, imported: Collection[str]) -> None:
        """Prepare nodes for a search that has imported these modules."""
        self._provider.set_modules(imported)

    def interrupt(self) -> bool:
        """Stop the round that runs. Safe in a signal handler and in another thread.

        Returns
        -------
        running : bool
            False if no round runs and there is nothing to stop.
        """
        if self._open is None:
            return False
        self._interrupted = True
        self._inbox.put(None)
        return True

    def kill(self) -> None:
        """End every agent at once, without a message. Safe in a signal handler."""
        self._roster.kill()

    def close(self) -> None:
        """End every node. A round that another thread runs or waits for raises."""
        self._turns.close()
        self._roster.close()

    @property
    def greetings(self) -> Mapping[str, Greeting]:
        """Greeting of each node by name, lost nodes included."""
        # A copy: nodes may greet meanwhile, in another thread's round.
        return dict(self._roster.greetings)

    @property
    def slot_deaths(self) -> int:
        """Number of slots that died during a fit."""
        return self._reports.slot_deaths

    # -- a round

    def run_round(
        self,
        plan: RoundPlan,
        blobs: RoundBlobs,
        queue: WorkQueue,
        record: Callable[[Sequence[Outcome]], None],
    ) -> None:
        """Run every task of the queue, once no other thread runs a round on these nodes.

        Parameters
        ----------
        queue : WorkQueue
            The round's queue, without the outcomes in the journal.
        record : callable
            Takes outcomes and returns when they are on disk.

        Raises
        ------
        FitRaised
            A fit raised and the search is to raise it.
        NodeError
            No node is left.
        InterruptedRunError, BudgetReachedError
            The run was stopped; finished fits are recorded.
        UsageError
            The engine is closed, or this thread runs a round already.
        """
        with self._turns.turn():
            work = RoundInProgress(
                serial=-1,
                plan=plan,
                blobs=blobs,
                queue=queue,
                record=record,
                listener=self._listener,
            )
            begin = time.monotonic()
            self._run_to_end(work)
            LOGGER.info("round %d took %.3f s", plan.round, time.monotonic() - begin)

    def run_calls(self, calls: CallRound) -> None:
        """Run the calls that arrive until the round ends; an error ends all of them.

        Parameters
        ----------
        calls : CallRound
        """
        try:
            with self._turns.turn():
                self._run_to_end(calls)
        except BaseException as error:  # noqa: BLE001 (raised again by those who wait for calls)
            calls.fail(error)

    def wake(self) -> None:
        """Make the engine look at its round at once. Safe in a signal handler and in any thread."""
        self._inbox.put(None)

    def _run_to_end(self, work: Round) -> None:
        self._serial += 1
        work.serial = self._serial
        self._open = work
        try:
            self._run(work)
        except (InterruptedRunError, BudgetReachedError) as error:
            LOGGER.info("no more fits start: %s", error)
            self._wind_down(work)
            raise
        finally:
            for link in self._roster.links.values():
                link.close_round(work.serial)
            work.end()
            self._open = None

    def _run(self, work: Round) -> None:
        if not self._roster.links:  # the first round, or an earlier search lost all nodes
            self._next_stop_check = 0.0
            self._check_stop()
            self._roster.start()
        for link in self._roster.links.values():
            self._onboarding.open_on(link, work, time.monotonic())
        if work.calls:
            # The program goes on meanwhile and makes garbage of its own.
            self._loop(work)
            return
        with only_new_garbage():
            self._loop(work)

    def _loop(self, work: Round) -> None:
        housekeeping = 0.0
        while not work.finished:
            self._check_stop()
            if self._turns.wanted:
                work.yield_turn()
            for event in self._events(work.wait_seconds or limits.HOUSEKEEPING):
                self._handle(event, work)
            now = time.monotonic()
            if now >= housekeeping:
                housekeeping = now + limits.HOUSEKEEPING
                self._keep_house(work, now)
            work.take_arrivals()
            self._serve_hungry(work, now)
            work.record_due(now)

    def _check_stop(self) -> None:
        self._turns.check()
        if self._interrupted:
            raise InterruptedRunError("interrupted")
        now = time.monotonic()
        if now >= self._next_stop_check:
            self._next_stop_check = now + limits.HOUSEKEEPING
            reason = self._settings.stop(now)
            if reason is not None:
                raise BudgetReachedError(reason)

    def _events(self, wait: float) -> Iterator[Event]:
        try:
            event = self._inbox.get(timeout=wait)
            for _ in range(EVENTS_AT_ONCE):
                if event is None:
                    return
                if not isinstance(event.message, UNLIMITED):
                    event.link.took(event)
                yield event
                event = self._inbox.get_nowait()
        except Empty:  # all events that have arrived are handled
            return

    def _keep_house(self, work: Round, now: float) -> None:
        for link in self._roster.links.values():
            if link.transport.mending():
                work.queue.renew(link.name, now, reachable=False)
                link.preparation = link.preparation.interrupted(now)
        for name, fault in work.queue.expire(now):
            if name in self._roster.links:
                gone = Gone(fault.reason, at_fault=not fault.silent)
                self._lose(self._roster.links[name], gone, work)
        for link in list(self._roster.links.values()):
            silence, starting = now - link.heard, link.ready_round != work.serial
            if link.up and starting and silence > self._settings.silence_seconds:
                self._lose(link, Gone(f"it sent nothing for {silence:.0f} s"), work)
            elif link.opened_round == work.serial and starting and not link.leaving:
                self._check_preparation(link, work, now)
        for link in list(self._roster.links.values()):
            if link.leaving and (
                work.queue.in_hand(link.name) <= 0 or link.opened_round != work.serial
            ):
                self._lose(link, Gone("its machine is being taken away"), work)
        for name, count in work.queue.recall(now):
            self._roster.links[name].send(Recall(count=count))
        work.see_nodes(self._roster.links, enough=self._roster.enough)
        self._forget_finished_splits(work)
        for quarantine in work.queue.take_quarantined():
            work.give_up(quarantine, quarantine.reason)

    def _check_preparation(self, link: Link, work: Round, now: float) -> None:
        link.preparation = link.preparation.went_on(link.sent_bytes, link.received, now)
        if link.uploads:  # for hours, if the data is large; the node can report nothing
            link.preparation = link.preparation.interrupted(now)
        fault = link.preparation.fault(now)
        if fault is not None:
            self._lose(link, Gone(fault, at_fault=True), work)

    def _forget_finished_splits(self, work: Round) -> None:
        """Let nodes free the memory that fits on finished splits shared."""
        splits = work.queue.take_splits_over()
        if splits and work.keeps and not work.calls:
            for link in self._roster.links.values():
                if link.ready_round == work.serial:
                    link.send(Forget(round=work.serial, splits=splits))

    def _serve_hungry(self, work: Round, now: float) -> None:
        if not self._roster.enough:
            return
        hungry = [
            link
            for link in self._roster.links.values()
            if link.wanted and link.ready_round == work.serial and not link.leaving
        ]
        # The emptiest node first: leases returned for it must not go back to the node that returned
        # them.
        for link in sorted(hungry, key=lambda link: work.queue.in_hand(link.name)):
            # At most an equal share each time, or the first node to ask would take everything.
            share = -(-work.queue.pending_leases // len(self._roster.links)) or link.wanted
            slots = link.greeting.slots if link.greeting else 0
            leases = work.queue.pull(link.name, min(share, link.wanted), now, slots)
            if leases:
                link.wanted = 0
                link.granted += sum(lease.n_tasks for lease in leases)
                work.grant(link, leases)

    # -- messages

    def _handle(self, event: Event, work: Round) -> None:
        link, message = event.link, event.message
        if not self._roster.has(link):
            return
        now = link.heard = time.monotonic()
        try:
            if link.greeting is None and not isinstance(message, BEFORE_GREETING):
                early = Gone("it sent a message before its greeting", at_fault=True)
                raise LinkFailure(early)
            work.queue.renew(link.name, now)
            self._dispatch(link, message, work, now)
        except LinkFailure as failure:
            self._lose(link, failure.gone, work, failure.cure)

    def _dispatch(self, link: Link, message: Any, work: Round, now: float) -> None:
        match message:
            case Report() | CallReport() | ResultPart() | Pull() | Returned() | SlotDied():
                if message.round == work.serial:
                    self._reports.take(link, message, work, now)
            case Heartbeat():
                beat = link.take_beat()
                work.queue.started(link.name, beat.running, now)
                self._listener.node_beat(link.name, beat)
                if not work.calls:
                    fits = [(c, s, now - at) for c, s, at in work.queue.running(link.name)]
                    self._listener.fits_running(link.name, fits)
                if link.ready_round != work.serial:
                    self._onboarding.tell_progress(link, beat)
            case Greeting():
                self._roster.greeted(link, self._onboarding.welcome(link, message))
                self._onboarding.open_on(link, work, now)
            case RoundReady():
                self._roster.ready(link, message.round)
                work.see_nodes(self._roster.links, enough=self._roster.enough)
                self._tell_state(link, "working")
            case NodeState():
                works = message.text == "connected" and link.ready_round == work.serial
                self._tell_state(link, "working" if works else message.text)
            case Leaving():
                work.queue.node_leaves(link.name)
                self._roster.leave(link, message)
            case Refusal():
                reason = printable(message.reason)
                raise LinkFailure(Gone(reason, NodeError(reason)), cure="nothing")
            case Gone():
                # A new agent on the same machine cannot help: the host is unreachable or not set
                # up.
                final = isinstance(message.error, NodeError) and not isinstance(
                    message.error, ProtocolError
                )
                raise LinkFailure(message, cure="machine" if final else "agent")

    def _tell_state(self, link: Link, state: str) -> None:
        leaves = link.leaving and state == "working"
        self._listener.node_changed(link.name, "leaving" if leaves else state)

    def _lose(self, link: Link, gone: Gone, work: Round, cure: Cure = "agent") -> None:
        work.queue.node_lost(link.name, charged=not (link.leaving or gone.at_fault))
        work.lost(link)
        self._roster.lose(link, gone, cure)

    # -- stopping

    def _wind_down(self, work: Round) -> None:
        """Give running fits a grace period, take what has ended, end the nodes."""
        for link in self._roster.links.values():
            link.send(Stop(grace_seconds=limits.STOP_GRACE))
        leaving = set(self._roster.links.values())
        until = time.monotonic() + limits.STOP_GRACE + 2.0
        while leaving and time.monotonic() < until:
            for event in self._events(0.1):
                if isinstance(event.message, Bye | Gone):
                    leaving.discard(event.link)
                elif isinstance(event.message, Report):
                    self._take_last_report(event, work)

    def _take_last_report(self, event: Event, work: Round) -> None:
        try:
            self._handle(event, work)
        except FitRaised:
            return  # the run ends anyway, and a fit that raised is not recorded
