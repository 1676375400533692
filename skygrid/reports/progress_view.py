"""Immutable snapshot of a run's progress."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["problem", "detail"]
"""problem: always shown; detail: shown with -v."""


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """Snapshot of one node."""

    name: str
    state: str
    """starting, preparing, receiving (or with progress: ``receiving 40 %``), loading, working,
    lost, finished."""

    busy: int
    slots: int
    """0 until the node has reported it."""

    fits: int
    """Outcomes computed in this session."""

    load: float = 0.0
    """Load average over one minute."""

    slots_bytes: int = 0
    """Memory of all its slots, in bytes."""

    host: str = ""


@dataclass(frozen=True, kw_only=True)
class RunningFit:
    """A fit that runs now."""

    params: Mapping[str, Any]
    split: int
    splits: int
    seconds: float
    """Seconds since it was first reported as running."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A line to be shown once."""

    level: Level
    text: str
    at: float = field(default_factory=time.time)
    """Time of the event, in seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class ProgressView:
    """Snapshot of the whole run."""

    phase: str
    elapsed: float
    """Seconds since the creation of the model."""

    round: int
    """Open round, from 0; -1 before the first."""

    done: int
    """Recorded fits, earlier sessions included."""

    total: int
    """Fits in all rounds opened so far."""

    reused: int
    """Part of `done` that was in the journal when its round opened."""

    failed: int
    """Part of `done` that raised or was killed."""

    retries: int
    """Attempts that killed their slot."""

    answered: int
    """Part of `done` derived from shared fits."""

    rate: float | None
    """Recent fits per second; None before two measurements."""

    seconds_left: float | None
    """Estimated seconds to the end of the open round; None if unknown.

    The estimate uses the time of each candidate's first split, because slow candidates run first
    and make past fits a poor measure.
    """

    best_score: float | None
    """Highest mean among the candidates of the open or last round that have most splits."""

    best_params: Mapping[str, Any] | None
    nodes: tuple[NodeView, ...]
    best_splits: int = 0
    """Splits in `best_score`."""

    splits: int = 0
    """Splits of each candidate of the open or last round."""

    running: tuple[RunningFit, ...] = ()
    """Fits that run for longest, the longest first."""

    shows_cost: bool = False
    """True if the nodes cost money."""

    dollars: float | None = None
    """USD so far; None if the price is unknown."""
