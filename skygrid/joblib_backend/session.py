"""One call of `joblib.Parallel`: its batches on their way to the nodes and back."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

from skygrid.engine.calls import CallEnd, CallRound, PendingCall
from skygrid.joblib_backend.outcome import cannot_send, results_of
from skygrid.joblib_backend.payload import ArrayRules, CallPackage
from skygrid.joblib_backend.pool import CallPool
from skygrid.sklearn_search.warnings import WarningCounter
from skygrid.worker.evaluation.calls import CallBatch

LOGGER = logging.getLogger(__name__)


class Ticket:
    """A batch that was submitted; joblib's future."""

    def __init__(
        self,
        calls: Sequence[tuple[Any, Sequence[Any], Mapping[str, Any]]],
        first: int,
        callback: Callable[[Ticket], Any] | None,
    ) -> None:
        self.calls = calls
        self.first = first
        """Number of its first call in the loop."""

        self.callback = callback
        self.pending: PendingCall | None = None
        self.round: CallRound | None = None
        self.results: Any = None
        self.error: BaseException | None = None
        self.cancelled = False

    def get(self) -> Any:
        """Return the results, or raise the exception of a call."""
        if self.error is not None:
            raise self.error
        return self.results


class CallSession:
    """The batches of one call of `joblib.Parallel`.

    joblib submits the next batch, and with it runs the caller's generator, from the callback of the
    last one. A thread of the session's own runs callbacks, so that a generator that waits for
    another session delays no other.

    Parameters
    ----------
    pool : CallPool
    rules : ArrayRules
    nesting_level : int
        Level of joblib inside the calls.
    limit : int or None
        Batches that may run at a time; None: as many as there are slots.
    """

    def __init__(
        self, pool: CallPool, rules: ArrayRules, nesting_level: int, limit: int | None
    ) -> None:
        self._pool = pool
        self._setup = pool.setup()
        self._package = CallPackage(pool.blobs, rules)
        self._nesting_level = nesting_level
        self._limit = limit
        self._lock = threading.Lock()
        self._aborted = False
        self._count = 0
        self._running: set[Ticket] = set()
        self._held: deque[Ticket] = deque()
        """Batches above the limit."""

        self._ends: SimpleQueue[tuple[Ticket, CallEnd | None] | None] = SimpleQueue()
        self._warnings = WarningCounter()
        threading.Thread(target=self._process, name="skygrid-results", daemon=True).start()

    def submit(self, batch: Any, callback: Callable[[Any], Any] | None) -> Ticket:
        """Send a batch to the nodes; `callback` is called with the ticket when it has ended."""
        # Any other callable is a batch of one call that returns the results.
        calls = getattr(batch, "items", None) or [(batch, (), {})]
        ticket = Ticket(calls, self._count, callback)
        self._count += len(calls)
        try:
            self._pack(ticket)
        except Exception as error:  # noqa: BLE001 (raised in the caller's thread)
            ticket.error = cannot_send(calls, error)
            self._ends.put((ticket, None))
            return ticket
        with self._lock:
            if self._aborted:
                ticket.cancelled = True
                return ticket
            if self._limit is not None and len(self._running) >= self._limit:
                self._held.append(ticket)
                return ticket
            self._running.add(ticket)
        self._start(ticket)
        return ticket

    def _pack(self, ticket: Ticket) -> None:
        packed = self._package.pack(CallBatch(ticket.calls, self._nesting_level))

        def ended(end: CallEnd) -> None:
            self._ends.put((ticket, end))

        ticket.pending = PendingCall(
            data=packed.data, blobs=packed.blobs, whole=packed.whole, ended=ended
        )

    def _start(self, ticket: Ticket) -> None:
        assert ticket.pending is not None
        while True:
            ticket.round = self._pool.round(self._setup)
            if ticket.round.submit(ticket.pending):
                break
        if ticket.cancelled:  # since `abort` looked at it
            ticket.round.cancel([ticket.pending])

    # -- ends

    def _process(self) -> None:
        while (item := self._ends.get()) is not None:
            ticket, end = item
            if end is not None and not ticket.cancelled:
                self._open(ticket, end)
            if ticket.callback is not None and not ticket.cancelled:
                try:
                    ticket.callback(ticket)
                except BaseException:
                    # joblib keeps the errors of calls; any other is a fault of joblib or skygrid.
                    LOGGER.exception("a callback of joblib failed")
            self._settle(ticket)

    def _open(self, ticket: Ticket, end: CallEnd) -> None:
        if end.done is not None:
            self._warnings.add([end.done])
        try:
            ticket.results = results_of(end, ticket.calls, ticket.first)
        except BaseException as error:  # noqa: BLE001 (raised in the caller's thread)
            ticket.error = error

    def _settle(self, ticket: Ticket) -> None:
        with self._lock:
            self._running.discard(ticket)
            following = self._held.popleft() if self._held else None
            if following is not None:
                self._running.add(following)
        if following is not None:
            self._start(following)
        # Last, so that the round stays open for a batch that follows.
        if ticket.round is not None and ticket.pending is not None:
            ticket.round.settle(ticket.pending)

    def abort(self) -> None:
        """Stop every batch, also those that run."""
        with self._lock:
            self._aborted = True
            running, self._running = list(self._running), set()
            self._held.clear()
        for ticket in running:
            ticket.cancelled = True
            if ticket.round is not None and ticket.pending is not None:
                ticket.round.cancel([ticket.pending])

    def close(self) -> None:
        """End the session's thread, and issue the warnings of its calls, once each."""
        self._ends.put(None)
        self._warnings.issue()
