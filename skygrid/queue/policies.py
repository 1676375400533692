"""What to do when a fit dies, drags on, or its node falls silent: one pure decision per policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from skygrid.config import RunConfig, limits
from skygrid.queue.splitting import SplitPolicy

Cause = Literal["signal", "exit", "timeout", "memory"]
"""How a slot ended under a fit, as `skygrid.worker.wire.messages.SlotDied` says it."""


@dataclass(frozen=True, kw_only=True)
class TryAgain:
    """The fit gets another attempt."""

    alone: bool
    """It is the last one, so the fit has the node to itself."""


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """The fit gets no further attempt."""

    reason: str
    """For the outcome's ``fit_error``."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a fit is tried again after it, or its node, went down.

    A death of the slot is charged to the fit; the loss of a node is not, because most nodes are
    lost for reasons of their own. A fit that was in hand at many losses is still suspected.
    """

    retries: int = RunConfig.retries
    """Further attempts after a slot died under the fit (``--retries``)."""

    isolate_after: int = 2
    """Node losses after which a fit runs alone, and beside no other suspect in the node's hands:
    otherwise one fit that takes nodes down drags the innocent ones around it into quarantine."""

    max_node_losses: int = 5
    """Node losses that a fit may be in hand at; one more and it is given up."""

    def after_death(self, causes: Sequence[Cause]) -> TryAgain | GiveUp:
        """Decide after a slot died.

        Parameters
        ----------
        causes
            How each slot died under this fit so far, the newest last; at least one.
        """
        # A timeout costs the whole timeout each time, so it is tried again once at most.
        timeouts, timeouts_allowed = causes.count("timeout"), min(1, self.retries)
        if len(causes) > self.retries or timeouts > timeouts_allowed:
            times = "once" if len(causes) == 1 else f"{len(causes)} times"
            return GiveUp(reason=f"the fit took its slot down {times} ({', '.join(causes)})")
        last = len(causes) == self.retries or (causes[-1] == "timeout" and timeouts == 1)
        return TryAgain(alone=last)

    def after_loss(self, losses: int) -> TryAgain | GiveUp:
        """Decide after a node was lost while it held the fit, for the `losses`-th time."""
        if losses > self.max_node_losses:
            return GiveUp(reason=f"{losses} nodes were lost while they held the fit")
        return TryAgain(alone=losses >= self.isolate_after)


@dataclass(frozen=True, kw_only=True)
class SpeculationPolicy:
    """When a fit that drags on is started a second time, on another node."""

    minimum_seconds: float = limits.OVERDUE
    """A fit is never overdue before this, however short its estimate."""

    factor: float = 3.0
    """Overdue after so many times its estimate."""

    def overdue(self, elapsed: float, expected: float | None) -> float | None:
        """Seconds by which a running fit is overdue; None when it is not.

        Parameters
        ----------
        elapsed
            Seconds since the fit was first seen running.
        expected
            Its estimate in seconds, or the median of all fits; None when nothing is known, and
            then nothing is overdue.
        """
        if expected is None:
            return None
        excess = elapsed - max(self.minimum_seconds, self.factor * expected)
        return excess if excess > 0 else None


@dataclass(frozen=True, kw_only=True)
class Hand:
    """What one node holds and wants, as far as the queue knows."""

    node: str
    unstarted: int
    """Leases in hand that no slot was seen to run."""

    wanted: int
    """Leases that it asked for in vain."""

    askable: bool
    """It may be asked to give leases back now."""

    idle: int = 0
    """Slots that were not seen to run; what is unstarted starts there first."""


@dataclass(frozen=True, kw_only=True)
class LeasePolicy:
    """How long a lease lives, and who shares unstarted leases when the queue runs dry."""

    timeout_seconds: float = limits.LEASE
    """Leases of a node expire so long after its last sign of life."""

    recall_seconds: float = limits.RECALL
    """A node is asked to give leases back at most once in this time."""

    def deadline(self, renewed: float) -> float:
        """When the leases of a node that was last heard at `renewed` expire."""
        return renewed + self.timeout_seconds

    def share(self, hands: Sequence[Hand], expected: int = 0) -> list[tuple[str, int]]:
        """Decide which nodes give back how many unstarted leases.

        Parameters
        ----------
        hands
            All live nodes.
        expected
            Leases that were asked back already and have not come yet.

        Returns
        -------
        list of (node, count)
            A donor levels down to the middle between itself and the node that wants, so nobody
            ends with less than it helped another to. What idle slots could start at once moves
            in any case: a donor's unstarted leases wait for its own slots to end their fits.
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
                # A donor that wants more itself keeps the odd one.
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
    """None: no fit is started a second time while it runs."""

    lease: LeasePolicy = field(default_factory=LeasePolicy)
    split: SplitPolicy = field(default_factory=SplitPolicy)
