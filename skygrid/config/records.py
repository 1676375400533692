"""The settings of a run and their defaults, which stand here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from skygrid.environment.settings import EnvironmentConfig
from skygrid.worker import process_state


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


Market = Literal["on-demand", "spot", "spot-then-on-demand"]
"""How nodes on AWS are bought."""


@dataclass(frozen=True, kw_only=True)
class AwsConfig:
    """The ``[aws]`` table: which nodes ``on = "aws"`` starts, and how they are reached."""

    profile: str | None = None
    """Profile of the AWS configuration; None: as the AWS CLI chooses it."""

    region: str | None = None
    """None: as the AWS CLI chooses it."""

    instance_types: tuple[str, ...] = ()
    """Types that may be taken, the cheapest that has the vCPUs first; empty: a type of the
    compute class with `RunConfig.concurrency` vCPUs, or four."""

    ami: str | None = None
    """Image of the nodes; None: the newest Ubuntu 24.04 of the region."""

    user: str = "ubuntu"
    """Who is logged in as; the image has that user, and lets it use sudo."""

    market: Market = "on-demand"
    zones: tuple[str, ...] = ()
    """Availability zones that may be taken; empty: all of the region."""

    subnet: str | None = None
    """Subnet of the nodes; None: the default subnets of the default VPC."""

    public_ip: bool = True
    """Whether nodes have a public address; without one they are reached at their private one."""

    jump: str | None = None
    """Host that connections go through, as behind ``ssh -J``; None: straight to the node."""

    allow_cidr: str | None = None
    """IPv4 addresses that may connect to port 22, such as ``203.0.113.0/24``; None: only the
    address that `address_url` says is the caller's."""

    address_url: str = "https://checkip.amazonaws.com"
    """Answers with the address that asks."""

    disk_gb: int = 30
    """GiB of each node's root volume."""

    replace: bool = True
    """Whether another node is launched for one that AWS took back."""

    bucket: str | None = None
    """S3 bucket through which large data reaches the nodes; None: over SSH."""

    bucket_over_gb: float = 1.0
    """GiB of data above which the bucket is used."""

    lease_minutes: float = 15.0
    """Minutes after which a node that hears nothing of its driver ends itself."""

    launch_timeout: float = 600.0
    """Seconds in which a node must be launched and reached for the first time."""

    price_per_hour: float | None = None
    """USD of one node for an hour; None: as the pricing API says."""

    folder: str = "~/.cache/skygrid"
    """Where a node keeps environments, code and data."""

    cache_max_gb: float = 20.0
    """GiB of data that a node keeps."""

    lost_after: float = 120.0
    """Seconds for which a node may be out of reach during a run before it is lost."""

    orphan_after: float = 600.0
    """Seconds without a driver after which an agent ends itself and removes what it made."""


def own_hash_seed() -> int:
    """Return the seed that this process was started with, 0 where it was none."""
    given = process_state.START.environment.get("PYTHONHASHSEED") or ""
    return int(given) if given.isdecimal() else 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides where and how a search runs, but not what it answers."""

    on: Literal["local", "ssh", "aws"] = "local"
    """Where the nodes are; with `nodes` and nothing said about the place: aws."""

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

    max_cost: float | None = None
    """USD after which no more fits are started; None: no limit."""

    fit_timeout: float | None = None
    """Seconds that one fit may take; None: no limit."""

    retries: int = 2
    """How often a fit that took its slot down is tried again."""

    no_sharing: bool = False
    """One fit for each candidate and split, also where one fit would answer several candidates."""

    hash_seed: int = field(default_factory=own_hash_seed)
    """PYTHONHASHSEED of all agents, so that sets of texts have one order on all nodes; default:
    that of skygrid's own process, else 0."""

    start_method: Literal["auto", "fork", "spawn"] = "auto"
    """How an agent starts its slots; auto: fork on Linux, spawn elsewhere."""

    memory_limit_gb: float | None = None
    """GiB that all slots of a node may hold together; None: nine tenths of the node."""

    dry_run: bool = False
    """Only make and show the plan."""

    yes: bool = False
    """Ask nothing before money is spent."""

    json: bool = False
    """Print results as one JSON document."""

    quiet: bool = False
    """Show no progress."""

    verbose: int = 0
    """How much more than usual is said on stderr."""

    aws: AwsConfig = field(default_factory=AwsConfig)
    ssh: SshConfig = field(default_factory=SshConfig)
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)


TABLES: dict[str, type] = {"aws": AwsConfig, "ssh": SshConfig, "environment": EnvironmentConfig}
"""Tables of the config file; each is a field of `RunConfig` by the same name."""

NOT_RECORDED = ("dry_run", "json", "quiet", "verbose", "yes")
"""How results are shown is for whoever looks, and no part of a run's record. Nor is a yes to its
cost: a resumed run costs anew."""
