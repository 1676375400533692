"""What a journal is: the record of a run's outcomes, and of what the run is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from skygrid.plan.records import Outcome, RoundPlan


class Journal(Protocol):
    """The record of one run. One thread at a time; one writing process at a time.

    Every method raises `skygrid.errors.JournalError` when the record cannot be read or written;
    nothing that was recorded before is damaged by that. Each row is checked when it is read: a
    journal gives out what was recorded or raises `skygrid.errors.DamagedJournalError`.
    """

    def claim(self, fingerprint: Mapping[str, str]) -> None:
        """Say which search the run is about; an empty journal stores it, another compares.

        Parameters
        ----------
        fingerprint
            Part of the search (``estimator``, ``X``, ``splits``, ``scikit-learn``, ...) -> its
            digest, or the text of its version.

        Raises
        ------
        FingerprintError
            The journal belongs to another search; the message names every part that differs.
        """

    def settle(self, plan: RoundPlan) -> RoundPlan:
        """Return the plan of a round as it is stored; store this one when there is none.

        A search without a seed draws other candidates or splits each time. Recorded outcomes
        belong to the plan that was drawn first, so a resumed run goes on with that.

        Raises
        ------
        FingerprintError
            The stored plan is too large to be kept, and this one is another.
        """

    def record_node(self, node: str, facts: bytes) -> None:
        """Store what a node is, as JSON; newer facts replace older ones."""

    def nodes(self) -> dict[str, bytes]:
        """Facts of every node, by its name."""

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Record outcomes, all or none of them; they are on disk when this returns.

        An outcome of a task that has one already is ignored: the first one counts.
        """

    def outcomes(self, round: int) -> list[Outcome]:
        """Outcomes of a round, ordered by candidate, then split."""

    def count(self) -> int:
        """Outcomes of all rounds."""

    def close(self) -> None:
        """Let go of the journal. No effect when it is closed already."""
