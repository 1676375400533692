"""How a run is to be done: file, environment and options become one frozen record.

Precedence, strongest first: option, environment (``SKYGRID_NODES`` and so on), config file,
default. Every default stands here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides where and how a search runs, but not what it answers."""

    on: Literal["local"] = "local"
    """Where the nodes are."""

    nodes: int | None = None
    """Machines; None: this one."""

    concurrency: int | None = None
    """Fits at a time on each node; None: the node's vCPUs (shared out among local nodes)."""

    name: str | None = None
    """The run's name; None: made up."""

    runs_dir: Path = Path("skygrid-runs")
    max_hours: float = 24.0
    fit_timeout: float | None = None
    """Seconds that one fit may take; None: no limit."""

    retries: int = 2
    """How often a fit that took its slot down is tried again."""

    start_method: Literal["auto", "fork", "spawn"] = "auto"
    """How an agent starts its slots; auto: fork on Linux, spawn elsewhere."""

    memory_limit_gb: float | None = None
    """GiB that all slots of a node may hold together; None: nine tenths of the node."""
