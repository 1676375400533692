"""The interface of a journal: the record of a run's search, plans and outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from skygrid.plan.records import Outcome, RoundPlan


class Journal(Protocol):
    """The record of one run, for one thread at a time and one writing process at a time.

    Methods raise `skygrid.errors.JournalError` if the record cannot be read or written, and
    `skygrid.errors.DamagedJournalError` instead of returning a damaged row. Rows recorded before
    stay intact.
    """

    def claim(self, fingerprint: Mapping[str, str]) -> None:
        """Store the fingerprint of the run's search in an empty journal; otherwise compare.

        Parameters
        ----------
        fingerprint
            Part (``estimator``, ``X``, ``scikit-learn``, ...) -> digest or version text.

        Raises
        ------
        FingerprintError
            Names every part that differs.
        """

    def settle(self, plan: RoundPlan) -> RoundPlan:
        """Return the stored plan of a round; store this one if there is none.

        A search without a seed draws another plan each time, but recorded outcomes belong to the
        first.

        Raises
        ------
        FingerprintError
            The stored plan was too large to keep, and this one differs from it.
        """

    def record_node(self, node: str, facts: bytes) -> None:
        """Store facts about a node, as JSON; newer facts replace older ones."""

    def nodes(self) -> dict[str, bytes]:
        """Return the facts of every node by its name."""

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Record outcomes, all or none; they are on disk when this returns.

        The first outcome of a task counts; later ones are ignored.
        """

    def outcomes(self, round: int) -> list[Outcome]:
        """Return the outcomes of a round, ordered by candidate, then split."""

    def count(self) -> int:
        """Return the number of outcomes of all rounds."""

    def close(self) -> None:
        """Release the journal. No effect if it is closed."""
