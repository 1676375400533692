"""A journal in memory, lost with its process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skygrid.errors import JournalError
from skygrid.journal.fingerprints import check_fingerprint
from skygrid.plan.records import Outcome, RoundPlan

_NAME = "this journal"


class MemoryJournal:
    """Implements `skygrid.journal.interface.Journal` without a disk."""

    def __init__(self) -> None:
        self._fingerprint: dict[str, str] = {}
        self._rounds: dict[int, RoundPlan] = {}
        self._nodes: dict[str, bytes] = {}
        self._outcomes: dict[tuple[int, int, int], Outcome] = {}
        self._closed = False

    def claim(self, fingerprint: Mapping[str, str]) -> None:
        self._check_open()
        if self._fingerprint:
            check_fingerprint(_NAME, self._fingerprint, fingerprint)
        else:
            self._fingerprint = dict(fingerprint)

    def settle(self, plan: RoundPlan) -> RoundPlan:
        self._check_open()
        return self._rounds.setdefault(plan.round, plan)

    def record_node(self, node: str, facts: bytes) -> None:
        self._check_open()
        self._nodes[node] = facts

    def nodes(self) -> dict[str, bytes]:
        self._check_open()
        return dict(self._nodes)

    def append(self, outcomes: Sequence[Outcome]) -> None:
        self._check_open()
        for outcome in outcomes:
            key = (outcome.round, outcome.candidate, outcome.split)
            self._outcomes.setdefault(key, outcome)

    def outcomes(self, round: int) -> list[Outcome]:
        self._check_open()
        return [self._outcomes[key] for key in sorted(self._outcomes) if key[0] == round]

    def count(self) -> int:
        self._check_open()
        return len(self._outcomes)

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise JournalError(f"{_NAME} is closed; open the run again")
