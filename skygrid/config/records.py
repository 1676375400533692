"""The settings of a run and their defaults, which stand here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from skygrid.environment.settings import EnvironmentConfig


@dataclass(frozen=True, kw_only=True)
class SshConfig:
    """The ``[ssh]`` table: the hosts of ``on = "ssh"`` and how they are reached."""

    hosts: tuple[str, ...] = ()
    """``host``, ``user@host``, ``user@host:port`` or an alias of the SSH config."""

    config_file: Path | None = None
    """SSH config to read; None: ``~/.ssh/config`` and the system's."""

    known_hosts: Path | None = None
    """Host keys that are accepted; None: the files that the SSH config names."""

    key: Path | None = None
    """Private key; None: those that the SSH config names, and the SSH agent's."""

    folder: str = "~/.cache/skygrid"
    """Where a host keeps environments, code and data, as the host spells it."""

    cache_max_gb: float = 20.0
    """GiB of data that a host keeps for later runs."""

    connect_timeout: float = 30.0
    """Seconds in which a host must be reached for the first time, further tries included."""

    lost_after: float = 120.0
    """Seconds for which a host may be out of reach during a run before it is lost."""

    orphan_after: float = 600.0
    """Seconds without a driver after which an agent ends itself and removes what it made."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides where and how a search runs, but not what it answers."""

    on: Literal["local", "ssh"] = "local"
    """Where the nodes are."""

    nodes: int | None = None
    """Machines; None: this one, or with ``on = "ssh"`` every host."""

    min_nodes: int | None = None
    """Fits start when so many nodes are ready; None: all of them."""

    concurrency: int | None = None
    """Fits at a time on each node; None: the node's vCPUs (shared out among local nodes)."""

    name: str | None = None
    """The run's name; None: made up."""

    runs_dir: Path = Path("skygrid-runs")
    max_hours: float = 24.0
    """Hours after which no more fits are started; infinity: no limit."""

    fit_timeout: float | None = None
    """Seconds that one fit may take; None: no limit."""

    retries: int = 2
    """How often a fit that took its slot down is tried again."""

    no_sharing: bool = False
    """One fit for each candidate and split, also where one fit would answer several candidates."""

    start_method: Literal["auto", "fork", "spawn"] = "auto"
    """How an agent starts its slots; auto: fork on Linux, spawn elsewhere."""

    memory_limit_gb: float | None = None
    """GiB that all slots of a node may hold together; None: nine tenths of the node."""

    dry_run: bool = False
    """Only make and show the plan."""

    json: bool = False
    """Print results as one JSON document."""

    quiet: bool = False
    """Show no progress."""

    verbose: int = 0
    """How much more than usual is said on stderr."""

    ssh: SshConfig = field(default_factory=SshConfig)
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)


TABLES: dict[str, type] = {"ssh": SshConfig, "environment": EnvironmentConfig}
"""Tables of the config file; each is a field of `RunConfig` by the same name."""

NOT_RECORDED = ("dry_run", "json", "quiet", "verbose")
"""How results are shown is for whoever looks, and no part of a run's record."""
