"""The round that an engine runs: its queue, and outcomes on their way to the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from skygrid.config import limits
from skygrid.engine.link import Link
from skygrid.listener import Listener
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.queue.verdicts import Completion, Quarantine
from skygrid.queue.work_queue import WorkQueue
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.messages.from_agent import SlotDied
from skygrid.worker.wire.messages.results import FitFacts, FitResult
from skygrid.worker.wire.messages.to_agent import Grant, Lease


@dataclass(frozen=True, kw_only=True)
class RoundBlobs:
    """Everything that nodes need for the fits of a round, ready to send."""

    data: Blob
    """A `SearchData`."""

    search: Blob
    """A `SearchWork`."""

    plan: Blob
    """A `RoundTasks`."""

    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Environment variables that libraries read when they are imported; None: unset."""


class Round(Protocol):
    """The work of an engine in one turn. The engine's thread makes all calls."""

    serial: int
    """Number of the round on the wire: an engine may run several searches one after another."""

    calls: bool
    """True if the leases are calls, false if they are fits."""

    @property
    def blobs(self) -> RoundBlobs:
        """Everything that nodes need before the first lease."""

    @property
    def queue(self) -> WorkQueue:
        """The tasks of the round."""

    @property
    def keeps(self) -> bool:
        """True if the slots of a node share files."""

    @property
    def finished(self) -> bool:
        """True if the round ends now."""

    @property
    def wait_seconds(self) -> float | None:
        """Maximum wait for events in seconds; None for the usual one."""

    def take_arrivals(self) -> None:
        """Bring tasks that have arrived into the queue."""

    def record_due(self, now: float) -> None:
        """Record outcomes that have waited long enough."""

    def yield_turn(self) -> None:
        """Note that another round waits for its turn."""

    def see_nodes(self, links: Mapping[str, Link], *, enough: bool) -> None:
        """Look at the nodes by name. Called when they may have changed.

        Parameters
        ----------
        enough : bool
            True if leases are handed out.
        """

    def grant(self, link: Link, leases: Sequence[Lease]) -> None:
        """Send leases to a node."""

    def candidate_of(self, death: SlotDied) -> int | None:
        """Return the candidate under which a slot died; None if its lease has one only."""

    def retried(self, candidate: int, death: SlotDied) -> None:
        """Note that a slot died under a candidate; it is tried again or given up."""

    def give_up(
        self, quarantine: Quarantine, reason: str, *, slot: int = -1, seconds: float = 0.0
    ) -> None:
        """Take the failure of a task that is given up."""

    def lost(self, link: Link) -> None:
        """Note that a node is lost."""

    def end(self) -> None:
        """Finish what is left when the round ends, also by an error."""


@dataclass(kw_only=True)
class RoundInProgress:
    """A round of fits, from its opening to its last outcome."""

    serial: int
    plan: RoundPlan
    blobs: RoundBlobs
    queue: WorkQueue
    record: Callable[[Sequence[Outcome]], None]
    """Takes outcomes and returns when they are on disk."""

    listener: Listener
    began_at: float = field(default_factory=time.time)
    """Time of day: unlike the monotonic clock, it also counts while the machine is suspended."""

    calls: bool = False
    _unrecorded: list[Outcome] = field(default_factory=list)
    _record_at: float = 0.0

    @property
    def keeps(self) -> bool:
        return self.plan.sharing.on_nodes

    @property
    def finished(self) -> bool:
        return self.queue.finished

    def yield_turn(self) -> None:
        """Do nothing: the round ends with its last fit."""

    def see_nodes(self, links: Mapping[str, Link], *, enough: bool) -> None:
        """Do nothing: fits are independent of the number of nodes."""

    def grant(self, link: Link, leases: Sequence[Lease]) -> None:
        link.send(Grant(round=self.serial, leases=list(leases)))

    def candidate_of(self, death: SlotDied) -> int | None:
        return death.candidate

    def retried(self, candidate: int, death: SlotDied) -> None:
        """Do nothing: the next attempt is like the first."""

    def lost(self, link: Link) -> None:
        """Do nothing: the node's outcomes so far count."""

    def end(self) -> None:
        self.record_all()

    @property
    def wait_seconds(self) -> float | None:
        """Maximum wait for events in seconds while outcomes are unrecorded; None otherwise."""
        return limits.RECORD_AFTER if self._unrecorded else None

    def take(self, node: str, result: FitResult, done: Completion, finished_at: float) -> None:
        """Keep the first outcome of a task."""
        self._note(
            Outcome(
                round=self.plan.round,
                candidate=done.candidate,
                split=done.split,
                status="failed" if result.status == "failed" else "scored",
                node=node,
                slot=result.slot,
                attempt=done.attempt,
                answered_by=done.answered_by,
                finished_at=finished_at,
                **{name: getattr(result, name) for name in FitFacts.__struct_fields__},
            )
        )

    def give_up(
        self, quarantine: Quarantine, reason: str, *, slot: int = -1, seconds: float = 0.0
    ) -> None:
        """Keep the failure of a task that is given up, as its outcome."""
        self._note(
            Outcome(
                round=self.plan.round,
                candidate=quarantine.candidate,
                split=quarantine.split,
                status="killed",
                node=quarantine.node,
                slot=slot,
                attempt=quarantine.attempt,
                fit_seconds=seconds,
                busy_seconds=seconds,
                fit_error=f"skygrid gave this fit up: {reason}\n",
                finished_at=time.time(),
            )
        )

    def _note(self, outcome: Outcome) -> None:
        if not self._unrecorded:
            self._record_at = time.monotonic() + limits.RECORD_AFTER
        self._unrecorded.append(outcome)

    def take_arrivals(self) -> None:
        """Do nothing: the tasks are known from the beginning."""

    def record_due(self, now: float) -> None:
        """Record outcomes that have waited long enough."""
        if self._unrecorded and now >= self._record_at:
            self.record_all()

    def record_all(self) -> None:
        """Record all outcomes, and only then report them to the listener."""
        if self._unrecorded:
            outcomes, self._unrecorded = self._unrecorded, []
            self.record(outcomes)
            self.listener.outcomes_recorded(outcomes)
