"""The content of a report: plain, frozen data, gathered from a run's folder."""

from __future__ import annotations

from typing import Any

import msgspec

from skygrid.reports.run_record import NodeRecord, RunRecord, State
from skygrid.reports.shared_work import SharedWork
from skygrid.reports.slot_use import SlotUse
from skygrid.reports.summary import NodeSummary

Score = float | None
"""None: no fit yet, NaN or infinite."""

PerSplit = tuple[tuple[Score, ...], ...]
"""Candidates x splits."""


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of ``cv_results_`` as columns, one item per candidate."""

    params: tuple[dict[str, Any], ...] = ()
    """Values as they are; stand-ins for objects of classes that are not loaded."""

    texts: tuple[dict[str, str], ...] = ()
    """Python text of each value that is a stand-in, where a result document has it."""

    rounds: tuple[int, ...] = ()
    n_train: tuple[int, ...] = ()
    """Training samples of the first split."""

    resources: tuple[int, ...] = ()
    """``n_resources`` of a halving search; empty for other searches and partial reports."""

    scores: dict[str, PerSplit] = {}
    """Test scores by metric."""

    train_scores: dict[str, PerSplit] = {}
    means: dict[str, tuple[Score, ...]] = {}
    """Over the splits with an outcome."""

    stds: dict[str, tuple[Score, ...]] = {}
    ranks: dict[str, tuple[int, ...]] = {}
    """As in ``cv_results_``; the place among the means in a partial report."""

    fit_seconds: PerSplit = ()
    derived: tuple[bool, ...] = ()
    """True if a fit time was computed from another candidate's fit."""

    done: tuple[int, ...] = ()
    """Splits with an outcome."""

    failed: tuple[int, ...] = ()
    """Splits whose fit failed."""

    def __len__(self) -> int:
        return len(self.params)


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Failed fits with the same error."""

    error: str
    """Last line of the traceback, or the reason why the fits were given up."""

    count: int
    candidates: tuple[int, ...]
    """Rows of `Candidates`."""

    splits: tuple[int, ...]
    common: dict[str, Any]
    """Parameters that all failed candidates have in common, and not all other candidates."""

    traceback: str
    killed: bool = False
    """True if the fits took their slots down or exceeded the time limit."""


class WarningGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Fits that raised the same warning."""

    category: str
    """Name of the class, as ``ConvergenceWarning``."""

    message: str
    count: int
    candidates: tuple[int, ...]
    splits: tuple[int, ...]
    common: dict[str, Any]
    """As in `FailureGroup`."""


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of time in which a slot was busy, in seconds since the start of the run."""

    begin: float
    end: float
    fits: int
    failed: int


class SlotLine(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one slot over the run."""

    node: str
    slot: int
    stretches: tuple[Stretch, ...]
    fits: int
    busy_seconds: float


class NodeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a node's state."""

    at: float
    """Seconds since the start of the run."""

    node: str
    what: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows."""

    record: RunRecord
    state: State
    """The real state: interrupted if the driver is gone."""

    made_at: float
    """Time of the report, in seconds since the epoch."""

    folder: str
    search: str = ""
    """Class of the search, as ``GridSearchCV``; empty if unknown."""

    metric: str = "score"
    """Metric that ranks the candidates, by its name in ``cv_results_``."""

    metrics: tuple[str, ...] = ()
    candidates: Candidates = Candidates()
    splits: int = 0
    n_train: tuple[int, ...] = ()
    """Training samples of each split in the last round."""

    n_test: tuple[int, ...] = ()
    best: int | None = None
    """Row of the best candidate; of the best so far in a partial report."""

    holdout: float | dict[str, float | None] | None = None
    refit_seconds: float | None = None
    refitted: bool = False
    wall_seconds: float | None = None
    fits: int = 0
    failed: int = 0
    killed: int = 0
    retries: int = 0
    reused: int = 0
    fit_seconds: float = 0.0
    """Slot time of all fits, in seconds."""

    failures: tuple[FailureGroup, ...] = ()
    warnings: tuple[WarningGroup, ...] = ()
    slots: tuple[SlotLine, ...] = ()
    use: SlotUse | None = None
    shared: SharedWork = SharedWork()
    saved_seconds: float = 0.0
    """Slot time that shared fits saved, in seconds."""

    nodes: tuple[NodeSummary, ...] = ()
    rented: tuple[NodeRecord, ...] = ()
    events: tuple[NodeEvent, ...] = ()
    source: str | None = None
    """Text of the search file."""

    source_note: str = ""
    diagram: str | None = None
    """The estimator's own HTML."""

    has_model: bool = False
    """True if ``search.pkl`` is there."""

    notes: tuple[str, ...] = ()
    """Parts of the folder that could not be read."""

    @property
    def partial(self) -> bool:
        """True if the run has no complete result."""
        return self.state != "complete"

    @property
    def display_metric(self) -> str:
        """Name of the metric for readers: ``accuracy`` where ``cv_results_`` has ``score``."""
        facts = self.record.search
        return facts.metric if self.metric == "score" and facts.metric else self.metric
