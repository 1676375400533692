"""Records of a plan: rounds and outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skygrid.worker.evaluation.contents import RoundTasks
from skygrid.worker.wire.messages.results import FitFacts

Status = Literal["scored", "failed", "killed"]
"""scored: fitted and scored. failed: `fit` raised; `fit_error` is scikit-learn's traceback text.
killed: the fit's slot died until the retries were spent; `fit_error` gives the reason.
"""


@dataclass(frozen=True, kw_only=True)
class ScoreForm:
    """Form of the scores of each fit, as far as it is known before the first one."""

    metrics: frozenset[str] | None = None
    """Names of the metrics if several scorers are given; None if one scorer is."""

    open: bool = True
    """True if the scorer decides: a callable or ``estimator.score`` may return one number or
    several."""

    train: bool = False
    """True if each fit has train scores too."""


@dataclass(frozen=True, kw_only=True)
class RoundPlan(RoundTasks):
    """One call of ``evaluate_candidates``: every candidate on every split.

    Grid and randomized searches have one round; halving searches have one for each iteration.
    """

    round: int
    """Position of the round in the run, from 0."""

    scores: ScoreForm = field(default_factory=ScoreForm)

    @property
    def n_tasks(self) -> int:
        """Number of fits in this round: candidates x splits."""
        return len(self.candidates) * len(self.splits)


class Outcome(FitFacts, frozen=True, kw_only=True, gc=False):
    """Outcome of one task: the facts of its fit, and their origin. At most one per task."""

    round: int
    candidate: int
    """Index into the round's candidates."""

    split: int
    """Index into the round's splits."""

    status: Status
    node: str
    """The driver's name for the node that computed it."""

    slot: int
    """Index of the slot on that node."""

    attempt: int = 1
    """1 for the first attempt, counting up with every retry."""

    answered_by: int = -1
    """Candidate whose fit on this split answered this one; -1 for a fit of its own."""

    finished_at: float = 0.0
    """Driver's wall clock when the outcome arrived, in seconds since the epoch."""
