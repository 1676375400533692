"""The records that a plan is made of: rounds, tasks and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from skygrid.worker.wire.messages import FitFacts

Status = Literal["scored", "failed", "killed"]
"""scored: fitted and scored. failed: `fit` raised, `fit_error` holds scikit-learn's own traceback
text. killed: the fit took its slot down until its retries were spent, `fit_error` says how."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Candidates that one fit answers, on any one split."""

    members: tuple[int, ...]
    """Indices into the round's candidates, two or more, the one that takes longest first."""

    rule: str
    """Name of the rule that says so."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What the fits of one round have in common."""

    groups: tuple[Group, ...] = ()
    """Disjoint; a candidate in none of them is fitted by itself."""

    prefixes: tuple[int, ...] = ()
    """For each candidate the number of the longest beginning of its pipeline that others have
    too; -1 where there is none."""

    kept: frozenset[str] = frozenset()
    """Digests of the fitted transformers that a node keeps for others."""

    samples: bool = False
    """The slots of a node have the samples of a split in common: X is large. Fits are then handed
    out split by split, so that the samples of few splits take memory at a time."""

    @property
    def on_nodes(self) -> bool:
        """Whether the slots of a node share anything but the fits of groups."""
        return bool(self.kept) or self.samples


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """One call of ``evaluate_candidates``: every candidate on every split.

    Grid and randomized searches have one round; halving searches have one for each iteration.
    """

    round: int
    """Position of the round in the run, from 0."""

    candidates: Sequence[Mapping[str, Any]]
    """Parameter settings, in scikit-learn's order."""

    splits: Sequence[tuple[Any, Any]]
    """(train, test) index arrays, in scikit-learn's order."""

    sharing: Sharing = field(default_factory=Sharing)
    """What its fits have in common."""

    @property
    def n_tasks(self) -> int:
        """Fits in this round: candidates x splits."""
        return len(self.candidates) * len(self.splits)


class Outcome(FitFacts, frozen=True, kw_only=True, gc=False):
    """Outcome of one task: the facts of its fit, and where they come from.

    At most one is recorded for each task.
    """

    round: int
    candidate: int
    """Index into the round's candidates."""

    split: int
    """Index into the round's splits."""

    status: Status
    node: str
    """Name of the node that computed it, as the driver knows it."""

    slot: int
    """Index of the slot on that node."""

    attempt: int = 1
    """1 for the first attempt, counting up with every retry."""

    answered_by: int = -1
    """The candidate whose fit on this split answered this one too; -1: it had a fit of its own."""

    finished_at: float = 0.0
    """Driver's wall clock when the outcome arrived, seconds since the epoch."""
