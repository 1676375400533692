"""The progress of a node from the opening of a round until it is ready for fits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from skygrid.config import limits


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Progress of a node that prepares for a round.

    Heartbeats alone are no progress: a node that sends them and never becomes ready would hold up
    a run that waits for it. Data that moves is: its transfer may take hours.
    """

    since: float
    """Time of the last progress."""

    sent_bytes: int = 0
    """Bytes that the node has taken from the driver."""

    received: int = 0
    """Largest part of the data that the node has reported, in thousandths. It may fetch data from
    another address than the driver's.
    """

    def went_on(self, sent_bytes: int, received: float | None, now: float) -> Preparation:
        """Return the progress after these facts.

        Parameters
        ----------
        sent_bytes : int
            Bytes that the node has taken so far.
        received : float or None
            Part of the data that it reports, from 0 to 1; None if it reports none.
        """
        thousandths = max(self.received, int(1000 * (received or 0.0)))
        if sent_bytes <= self.sent_bytes and thousandths <= self.received:
            return self
        return Preparation(since=now, sent_bytes=sent_bytes, received=thousandths)

    def interrupted(self, now: float) -> Preparation:
        """Return the progress while the connection is restored: the node can report nothing."""
        return replace(self, since=now)

    def fault(self, now: float) -> str | None:
        """Return the reason why the node is given up; None if it may still become ready."""
        stopped = now - self.since
        if stopped < limits.PREPARE:
            return None
        return f"it did not become ready for fits within {stopped:.0f} s"
