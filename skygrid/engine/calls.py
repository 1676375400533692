"""A round of calls: batches of function calls arrive while nodes run them.

Threads that call `submit` and the thread of the engine share a `CallRound`. The engine's thread
alone changes the queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import BinaryIO

from skygrid.engine.large_results import LargeResults
from skygrid.engine.link import Link
from skygrid.engine.node_events import Gone, LinkFailure
from skygrid.engine.result_check import safe
from skygrid.engine.round import RoundBlobs
from skygrid.queue.policies import QueuePolicies
from skygrid.queue.verdicts import Quarantine, Verdict
from skygrid.queue.work_queue import WorkQueue
from skygrid.util.terminal import printable
from skygrid.worker.limits import MAX_RESULT
from skygrid.worker.wire.blobs import RawBlob
from skygrid.worker.wire.messages.calls import Call, CallDone, CallReport, ResultPart
from skygrid.worker.wire.messages.from_agent import SlotDied
from skygrid.worker.wire.messages.to_agent import Abandon, Grant, Lease

NODE_SHARE = 8
"""A node keeps blobs of earlier calls up to this fraction of its memory."""


@dataclass(frozen=True, kw_only=True)
class CallEnd:
    """The end of a batch of calls."""

    node: str = ""
    done: CallDone | None = None
    """None if the batch was given up."""

    content: bytes | bytearray | BinaryIO = b""
    """Pickle of its results or its exception; an open file is closed by the receiver."""

    reason: str = ""
    """Reason why it was given up by the queue."""

    position: int = -1
    """Position in the batch of the call that took its slot down; -1 if unknown."""

    error: BaseException | None = None
    """Error that ended the round."""


@dataclass(eq=False, kw_only=True)
class PendingCall:
    """A batch of calls on its way."""

    data: bytes
    """Pickle of a `CallBatch`."""

    blobs: Sequence[RawBlob]
    """Blobs that it refers to, and other batches may refer to."""

    whole: RawBlob | None = None
    """Blob that it alone refers to; nodes delete it when the batch ends."""

    ended: Callable[[CallEnd], None]
    """Called once, on the engine's thread, unless the batch is cancelled; returns at once."""

    number: int = -1
    """Its candidate in the queue; -1 until it is there."""

    position: int = -1
    """Position of the call that last took its slot down."""


class CallRound:
    """One round of calls, from its opening until it is idle and another one waits, or for long.

    Parameters
    ----------
    blobs : RoundBlobs
        `RoundBlobs.search` is a `CallSetup`; the others are empty.
    policies : QueuePolicies
    wake : callable
        Wakes the engine's thread. Safe in every thread.
    idle_seconds : float
        Time without calls after which the round ends.
    """

    calls = True
    keeps = True
    serial = -1
    """Number of the round on the wire; set by the engine."""

    def __init__(
        self,
        blobs: RoundBlobs,
        policies: QueuePolicies,
        wake: Callable[[], None],
        idle_seconds: float,
    ) -> None:
        self.blobs = blobs
        self.queue = WorkQueue(
            round=0, n_candidates=0, n_splits=1, policies=policies, first_lease_id=1
        )
        self._wake = wake
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._open: set[PendingCall] = set()
        """Batches that were submitted and not settled."""

        self._closing = self._over = False
        self._idle_since = time.monotonic()
        self._arrivals: SimpleQueue[PendingCall | list[PendingCall]] = SimpleQueue()
        """Submitted batches, and lists of cancelled ones."""

        self._calls: dict[int, PendingCall] = {}
        """Batches in the queue, by number."""

        self._large = LargeResults()
        self._links: Mapping[str, Link] = {}
        self._sent: dict[str, int] = {}
        """Bytes that each node had taken when it was last looked at."""

        self._ready = threading.Event()
        self._waiting = 0
        """Threads that wait for the number of slots."""

        self._slots = 0
        self._error: BaseException | None = None

    # -- any thread

    def submit(self, call: PendingCall) -> bool:
        """Add a batch; return False if the round is over."""
        with self._lock:
            if self._over:
                return False
            self._open.add(call)
        self._arrivals.put(call)
        self._wake()
        return True

    def settle(self, call: PendingCall) -> None:
        """Note that a batch's end has been processed; the round may end without this call."""
        with self._lock:
            self._open.discard(call)
            self._idle_since = time.monotonic()
            idle = not self._open and self._closing
        if idle:
            self._wake()

    def cancel(self, calls: Iterable[PendingCall]) -> None:
        """Stop these batches: those that run too. Their ends are not reported."""
        cancelled = list(calls)
        self._arrivals.put(cancelled)
        for call in cancelled:
            self.settle(call)
        self._wake()

    def close(self) -> None:
        """End the round once all its batches are settled."""
        with self._lock:
            self._closing = True
        self._wake()

    @property
    def accepts(self) -> bool:
        """True if new callers may use the round."""
        return not self._closing

    def slots(self) -> int:
        """Return the number of slots of all nodes; wait for the first nodes.

        Raises
        ------
        BaseException
            The error that ended the round.
        """
        with self._lock:
            self._waiting += 1
        try:
            self._ready.wait()
        finally:
            with self._lock:
                self._waiting -= 1
                self._idle_since = time.monotonic()
        if self._error is not None:
            raise self._error
        return self._slots

    # -- the engine's thread

    @property
    def finished(self) -> bool:
        """True if the round ends now: no batch can be submitted any more."""
        with self._lock:
            if self._open or (self._waiting and not self._ready.is_set()):
                return False
            idle = time.monotonic() - self._idle_since > self._idle_seconds
            self._closing = self._closing or idle
            self._over = self._closing
            return self._over

    @property
    def wait_seconds(self) -> float | None:
        return None

    def yield_turn(self) -> None:
        """Let other rounds run once the present calls have ended."""
        self._closing = True

    def see_nodes(self, links: Mapping[str, Link], *, enough: bool) -> None:
        """Count the slots of the nodes; nodes that have not greeted count like the others."""
        self._links = links
        self._note_transfers(time.monotonic())
        known = [link.greeting.slots for link in links.values() if link.greeting is not None]
        if enough and known:
            self._slots = sum(known) + (len(links) - len(known)) * (sum(known) // len(known))
            self._ready.set()

    def _note_transfers(self, now: float) -> None:
        """Note the nodes that take arguments: they start calls only when these have arrived."""
        for name, link in self._links.items():
            if link.sent_bytes != self._sent.get(name):
                self._sent[name] = link.sent_bytes
                self.queue.transferred(name, now)

    def record_due(self, now: float) -> None:
        """Do nothing: calls are not recorded."""

    def take_arrivals(self) -> None:
        """Bring arrived batches into the queue, and cancelled ones out of it."""
        for arrival in self._arrived():
            if isinstance(arrival, PendingCall):
                arrival.number = self.queue.extend(1)
                self._calls[arrival.number] = arrival
            else:
                self._cancel(arrival)

    def _arrived(self) -> Iterator[PendingCall | list[PendingCall]]:
        try:
            while True:
                yield self._arrivals.get_nowait()
        except Empty:  # all arrivals are processed
            return

    def _cancel(self, cancelled: Sequence[PendingCall]) -> None:
        known = [call.number for call in cancelled if self._calls.pop(call.number, None)]
        self._abandon(self.queue.cancel(known))

    def _abandon(self, leases: Iterable[tuple[str, int]]) -> None:
        for name, lease in leases:
            if name in self._links:
                self._links[name].send(Abandon(leases=[lease]))

    def end(self) -> None:
        """Do nothing: ends were reported as they came."""

    def fail(self, error: BaseException) -> None:
        """End every batch with an error; the round is over."""
        with self._lock:
            self._closing = self._over = True
        self._error = error
        self._ready.set()
        for arrival in self._arrived():
            if isinstance(arrival, PendingCall):
                arrival.ended(CallEnd(error=error))
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.ended(CallEnd(error=error))

    # -- leases

    def grant(self, link: Link, leases: Sequence[Lease]) -> None:
        """Send leases to a node, with their arguments; blobs go first."""
        sent: list[tuple[Lease, Call]] = []
        room = MAX_RESULT
        for lease in leases:
            pending = self._calls[lease.candidate]
            blobs = [*pending.blobs, *([pending.whole] if pending.whole else [])]
            names = tuple(link.send_blob(blob) for blob in blobs)
            link.call_blobs.use(blobs)
            if sent and len(pending.data) > room:
                self._send(link, sent)
                sent, room = [], MAX_RESULT
            sent.append((lease, Call(lease=lease.id, data=pending.data, blobs=names)))
            room -= len(pending.data)
        self._send(link, sent)
        self._drop_blobs(link)

    def _send(self, link: Link, sent: Sequence[tuple[Lease, Call]]) -> None:
        link.send(
            Grant(
                round=self.serial,
                leases=[lease for lease, _ in sent],
                calls=[call for _, call in sent],
            )
        )

    def _drop_blobs(self, link: Link) -> None:
        """Let a node delete the blobs that were used longest ago, if they take much memory."""
        assert link.greeting is not None  # it has leases
        limit = link.greeting.memory_bytes // NODE_SHARE
        if link.call_blobs.bytes > limit:
            # Blobs of single batches too: they are dropped when their batch ends.
            used = {blob.digest for call in self._calls.values() for blob in call.blobs}
            used |= {call.whole.digest for call in self._calls.values() if call.whole}
            link.drop_blobs(link.call_blobs.drop(limit, used))

    # -- messages

    def candidate_of(self, death: SlotDied) -> None:
        """Return no candidate: a lease has one batch."""

    def give_up(
        self, quarantine: Quarantine, reason: str, *, slot: int = -1, seconds: float = 0.0
    ) -> None:
        """Report that a batch is given up."""
        call = self._calls.pop(quarantine.candidate, None)
        if call is not None:
            end = CallEnd(node=quarantine.node, reason=reason, position=call.position)
            call.ended(end)

    def retried(self, candidate: int, death: SlotDied) -> None:
        """Note which call of a batch took its slot down."""
        call = self._calls.get(candidate)
        if call is not None:
            call.position = death.candidate

    def lost(self, link: Link) -> None:
        """Drop the results that were fetched from a node."""
        self._large.forget(link)

    def take(self, link: Link, message: CallReport | ResultPart, now: float) -> bool:
        """Take ends of calls, or a part of a large result.

        Returns
        -------
        work : bool
            False if all of it was known before: repeated reports must not count as work.

        Raises
        ------
        LinkFailure
            If the message cannot be true.
        """
        if isinstance(message, ResultPart):
            whole = self._large.take(link, message)
            self.queue.transferred(link.name, now)
            if whole is not None:
                self._end(link, whole.done, whole.content, now)
            return True
        self._large.round = self.serial
        work = False
        for done in message.results:
            if not done.size:
                work |= self._end(link, done, done.data, now)
            elif link.transport.shares_files:
                work |= self._end(link, done, _opened(done), now)
                self._large.delete(link, done)
            else:
                self._large.fetch(link, done)
        return work

    def _end(
        self, link: Link, done: CallDone, content: bytes | bytearray | BinaryIO, now: float
    ) -> bool:
        """Report the end of a batch; return False if it had ended before."""
        ended = self.queue.complete(
            link.name, done.lease, done.busy_seconds, now, busy_seconds=done.busy_seconds
        )
        self._abandon(ended.abandon)
        call = self._calls.pop(ended.candidate, None) if ended.verdict is Verdict.FIRST else None
        if call is not None:
            if call.whole is not None:
                link.drop_blobs([call.whole.digest])
            call.ended(CallEnd(node=link.name, done=safe(done), content=content))
            return True
        if not isinstance(content, bytes | bytearray):
            content.close()
        if ended.verdict is Verdict.UNKNOWN and ended.candidate < 0:
            lie = Gone("it reported a call that it was never given", at_fault=True)
            raise LinkFailure(lie, cure="machine")
        link.node_log.write(f"{ended.verdict.value} result dropped\n".encode())
        return False


def _opened(done: CallDone) -> BinaryIO:
    try:
        return open(done.path, "rb", buffering=0)
    except OSError as error:
        raise LinkFailure(Gone(printable(f"its result cannot be read: {error}"))) from error
