"""Settings of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from skygrid.config import limits
from skygrid.engine.stopping import StartCondition, StopCondition, never, unbounded


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Settings that the engine passes to agents, and its stop condition."""

    fit_timeout_seconds: float | None = None
    start_method: str = "auto"
    memory_limit_bytes: int | None = None
    silence_seconds: float = limits.START_SILENCE
    """Seconds without a message after which a starting node is lost. It may be busy unpickling;
    once it works, its leases expire much sooner.
    """

    min_nodes: int = 1
    """Number of nodes that must be ready before fits start; the run ends if fewer can be had."""

    stop: StopCondition = never
    """Condition for starting no more fits; called a few times a second."""

    may_not_start: StartCondition = unbounded
    """Condition for starting no nodes; called before nodes and replacements on new machines."""
