"""What a run has done so far, as it is at one moment: immutable, to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["problem", "detail"]
"""problem: shown always; detail: shown under -v."""


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """One node, as it is now."""

    name: str
    state: str
    """starting, preparing, receiving (or, with how much of it, ``receiving 40 %``), loading,
    working, lost, gone."""

    busy: int
    slots: int
    """0 until the node said how many it has."""

    fits: int
    """Outcomes that it has computed in this session of the run."""

    load: float = 0.0
    """Load average of the node over one minute."""

    slots_bytes: int = 0
    """Memory that its slots hold together."""

    host: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something to be said once."""

    level: Level
    text: str


@dataclass(frozen=True, kw_only=True)
class ProgressView:
    """The whole run, as it is now."""

    phase: str
    elapsed: float
    """Seconds since the model was made."""

    round: int
    """The open round, from 0; -1 before the first."""

    done: int
    """Fits recorded, those of earlier sessions included."""

    total: int
    """Fits in all rounds opened so far."""

    reused: int
    """Of `done`, those that the journal held when their round was opened."""

    failed: int
    """Of `done`, fits that raised or were killed."""

    retries: int
    """Attempts that took their slot down."""

    answered: int
    """Of `done`, fits that were not run, as another candidate's answered them."""

    rate: float | None
    """Fits per second of late; None before two measurements."""

    seconds_left: float | None
    """To the end of the open round; None while that cannot be said.

    One split of every candidate runs first, the slowest candidates before the others, so fits so
    far are no measure of fits to come. The time of a candidate's first split is, for its others."""

    best_score: float | None
    """Highest mean over all splits of a candidate of the open (or last) round."""

    best_params: Mapping[str, Any] | None
    nodes: tuple[NodeView, ...]
