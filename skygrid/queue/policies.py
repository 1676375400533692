"""Decisions about dying, slow and lost fits: one pure method per policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from skygrid.config import RunConfig, limits
from skygrid.queue.splitting import SplitPolicy

Cause = Literal["signal", "exit", "timeout", "memory"]
"""Cause of a slot's death during a fit, as in `SlotDied` of `worker.wire.messages`."""


@dataclass(frozen=True, kw_only=True)
class TryAgain:
    """The fit gets another attempt."""

    alone: bool
    """The attempt is the last, so the fit gets a node for itself."""


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """The fit gets no further attempt."""

    reason: str
    """Text for the outcome's ``fit_error``."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Limits of attempts after the death of a slot or the loss of a node.

    A slot's death is charged to its fit. A node's loss is not, but a fit in hand at several losses
    becomes a suspect: it runs alone, and on a node that was not lost with it if there is one. So
    one bad node among others ends no fit. A fit that kills each machine is given up in the end,
    also if there is only one machine. Losses that no fit can have caused are not counted: those
    with notice, and those by a fault of the node itself, such as a false report.
    """

    retries: int = RunConfig.retries
    """Further attempts after a slot died under the fit (``--retries``)."""

    isolate_after: int = 2
    """Node losses after which a fit runs alone, on a node that holds no other suspect. Otherwise a
    fit that kills nodes would drag its innocent neighbours into quarantine.
    """

    noun: str = "fit"
    """Word for the task in reasons."""

    max_node_losses: int = 5
    """Node losses that a fit survives; at the next one it is given up."""

    def after_death(self, causes: Sequence[Cause]) -> TryAgain | GiveUp:
        """Decide after a slot died.

        Parameters
        ----------
        causes
            Cause of each slot's death under this fit so far, the newest last; at least one.
        """
        # A timeout costs the whole limit each time: one retry at most.
        timeouts, timeouts_allowed = causes.count("timeout"), min(1, self.retries)
        if len(causes) > self.retries or timeouts > timeouts_allowed:
            times = "once" if len(causes) == 1 else f"{len(causes)} times"
            return GiveUp(
                reason=f"the {self.noun} took its slot down {times} ({', '.join(causes)})"
            )
        last = len(causes) == self.retries or (causes[-1] == "timeout" and timeouts == 1)
        return TryAgain(alone=last)

    def after_loss(self, losses: int) -> TryAgain | GiveUp:
        """Decide after a node was lost while it held the fit, for the `losses`-th time."""
        if losses > self.max_node_losses:
            return GiveUp(reason=f"{losses} nodes were lost while they held the {self.noun}")
        return TryAgain(alone=losses >= self.isolate_after)


@dataclass(frozen=True, kw_only=True)
class SpeculationPolicy:
    """Conditions for a second copy of a slow fit on another node."""

    minimum_seconds: float = limits.OVERDUE
    """Minimum running time of an overdue fit in seconds, however short its estimate."""

    factor: float = 3.0
    """Multiple of its estimate at which a fit is overdue."""

    def overdue(self, elapsed: float, expected: float | None) -> float | None:
        """Return the seconds by which a running fit is overdue; None if it is not.

        Parameters
        ----------
        elapsed
            Seconds since the fit was first reported as running.
        expected
            Estimate in seconds; None if unknown, then the fit is not overdue.
        """
        if expected is None:
            return None
        excess = elapsed - max(self.minimum_seconds, self.factor * expected)
        return excess if excess > 0 else None


@dataclass(frozen=True, kw_only=True)
class Hand:
    """Leases that one node holds and wants, as far as the queue knows."""

    node: str
    unstarted: int
    """Leases held that no slot has been reported to run."""

    wanted: int
    """Leases missing from the answer to its last pull."""

    askable: bool
    """The node may be asked to return leases now."""

    idle: int = 0
    """Slots not reported as running; unstarted leases start on these first."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Reason why a node loses its leases."""

    reason: str
    silent: bool
    """True if the node sent nothing: a fit may have killed its machine. Otherwise it is alive and
    does not do its work, which no fit can cause.
    """


@dataclass(frozen=True, kw_only=True)
class LeasePolicy:
    """Lifetime of leases, and the sharing of unstarted leases once no task waits."""

    timeout_seconds: float = limits.LEASE
    """Seconds from a node's last message until its leases expire."""

    recall_seconds: float = limits.RECALL
    """Minimum interval between two recalls from the same node, in seconds."""

    answer_seconds: float = limits.RECALL_ANSWER
    """Time in which a node must answer a recall."""

    stall_seconds: float = limits.STALL
    """Time for which a node may hold leases and run none."""

    def fault(self, *, expired: bool, unanswered: float, stalled: float) -> Fault | None:
        """Return the reason why a node loses its leases; None if it keeps them.

        Parameters
        ----------
        expired
            True if the node sent nothing until the deadline of its leases.
        unanswered
            Seconds for which a recall has had no answer.
        stalled
            Seconds for which the node has held leases and run none.
        """
        if expired:
            return Fault(reason="it fell silent", silent=True)
        if unanswered >= self.answer_seconds:
            reason = f"it did not answer for {unanswered:.0f} s when fits were asked back"
            return Fault(reason=reason, silent=False)
        if stalled >= self.stall_seconds:
            reason = f"it held fits for {stalled:.0f} s and started none"
            return Fault(reason=reason, silent=False)
        return None

    def deadline(self, renewed: float) -> float:
        """Return the expiry of leases that were renewed at time `renewed`."""
        return renewed + self.timeout_seconds

    def share(self, hands: Sequence[Hand], expected: int = 0) -> list[tuple[str, int]]:
        """Choose the nodes that return unstarted leases, and how many each.

        A donor levels down to the middle between itself and the receiver. Leases that the
        receiver's idle slots could start at once move in any case: on the donor they would wait for
        running fits. `expected` leases were asked back already and have not come.
        """
        spare = {hand.node: hand.unstarted for hand in hands}
        asked: dict[str, int] = {}
        receivers = sorted((h for h in hands if h.wanted), key=lambda h: h.unstarted)
        received: set[str] = set()
        for receiver in receivers:
            need = receiver.wanted - expected
            expected = max(0, -need)
            donors = [h for h in hands if h.askable and h is not receiver]
            for donor in sorted(donors, key=lambda h: -spare[h.node]):
                gap = spare[donor.node] - spare[receiver.node]
                # A donor that wants more itself keeps the odd lease.
                level = gap // 2 if donor.wanted else (gap + 1) // 2
                stuck = spare[donor.node] - donor.idle
                startable = min(receiver.idle - spare[receiver.node], stuck)
                give = min(need, max(level, startable))
                if give > 0 and donor.node not in received:
                    asked[donor.node] = asked.get(donor.node, 0) + give
                    spare[donor.node] -= give
                    spare[receiver.node] += give
                    need -= give
                    received.add(receiver.node)
        return list(asked.items())


@dataclass(frozen=True, kw_only=True)
class QueuePolicies:
    """All policies of a queue."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    speculation: SpeculationPolicy | None = field(default_factory=SpeculationPolicy)
    """None: no fit gets a second copy while it runs."""

    lease: LeasePolicy = field(default_factory=LeasePolicy)
    split: SplitPolicy = field(default_factory=SplitPolicy)
