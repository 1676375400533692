"""What an engine passes on to agents, and when it stops."""

from __future__ import annotations

from dataclasses import dataclass

from skygrid.config import limits
from skygrid.engine.stopping import StopCondition, never


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What the engine passes on to agents, and when it stops."""

    fit_timeout_seconds: float | None = None
    start_method: str = "auto"
    memory_limit_bytes: int | None = None
    silence_seconds: float = limits.START_SILENCE
    """How long a node may say nothing while it starts or makes ready, before it is lost. It may
    be busy unpickling; once it works, its leases expire much sooner."""

    min_nodes: int = 1
    """Fits start when so many nodes are ready for them; fewer that can be had end the run."""

    stop: StopCondition = never
    """When no more fits are started; asked a few times a second."""
