"""The settings of a run; their defaults and ranges are defined only here.

The description of a range completes "it must be ..." in the message about a value outside it.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from skygrid.environment.settings import EnvironmentConfig, Text
from skygrid.worker.user_code import process_state

FINITE = sys.float_info.max


def _is_network(text: str) -> bool:
    """Return whether text is an IPv4 network as EC2 takes it: without host bits."""
    try:
        ipaddress.IPv4Network(text)
    except ValueError:  # no network, or one with host bits
        return False
    return "/" in text


def _are_different(texts: tuple[str, ...]) -> bool:
    return len(set(texts)) == len(texts)


EACH_ONCE = {"holds": _are_different}
IS_NETWORK = {"holds": _is_network}
"""Conditions that `Meta` cannot express."""


def _positive(unit: str) -> Meta:
    return Meta(gt=0, le=FINITE, description=f"{unit}, more than 0 and finite")


def _from_zero(unit: str) -> Meta:
    return Meta(ge=0, le=FINITE, description=f"{unit}, 0 or more and finite")


def _text(pattern: str, description: str) -> Meta:
    return Meta(pattern=rf"^(?:{pattern})\Z", description=description)


NAME_WORDS = "letters, digits, dots, dashes and underscores, beginning with a letter or digit"

AtLeastOne = Annotated[int, Meta(ge=1, description="at least 1")]
NotNegative = Annotated[int, Meta(ge=0, description="0 or more")]
HashSeed = Annotated[int, Meta(ge=0, lt=2**32, description="0 to 4294967295")]
DiskGib = Annotated[int, Meta(ge=8, le=16384, description="GiB, 8 to 16384")]
Seconds = Annotated[float, _positive("seconds")]
Orphaned = Annotated[float, Meta(ge=30, le=FINITE, description="seconds, 30 or more and finite")]
Gib = Annotated[float, _positive("GiB")]
GibFromZero = Annotated[float, _from_zero("GiB")]
Budget = Annotated[float, _positive("USD")]
Price = Annotated[float, _from_zero("USD")]
Score = Annotated[float, Meta(ge=-FINITE, le=FINITE, description="a score, finite")]
Hours = Annotated[float, Meta(gt=0, description="hours, more than 0")]
LeaseMinutes = Annotated[
    float, Meta(gt=0, le=1440, description="minutes, more than 0 and at most 1440")
]
RunName = Annotated[str, _text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", NAME_WORDS)]
Folder = Annotated[str, _text(r"[^\x00]*[^\s\x00][^\x00]*", "the path of a folder")]
Profile = Annotated[str, Meta(pattern=r"\S", description="the name of a profile")]
JumpHost = Annotated[str, Meta(pattern=r"\S", description="a host, as behind ssh -J")]
Region = Annotated[
    str, _text(r"[a-z]{2}(-[a-z]+)+-\d+", "the code of a region, such as eu-central-1")
]
ImageId = Annotated[str, _text(r"ami-[0-9a-f]+", "the id of an image, ami-...")]
SubnetId = Annotated[str, _text(r"subnet-[0-9a-f]+", "the id of a subnet, subnet-...")]
UserName = Annotated[str, _text(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", "the name of a user")]
Bucket = Annotated[str, _text(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of a bucket")]
ClusterAddress = Annotated[
    str, Meta(pattern=r"^\S+\Z", description="an address without spaces: HOST:PORT")
]
Amount = Annotated[float, _positive("an amount")]
CommandLine = Annotated[
    str, _text(r"[^\x00]*\{agent\}[^\x00]*", "a command with {agent} where the agent is to run")
]
SlurmTime = Annotated[
    str,
    _text(
        r"\d+(-\d+(:\d+){0,2})?|\d+(:\d+){1,2}",
        'minutes or a time as Slurm writes it: "90", "2:30:00", "1-12"',
    ),
]
SlurmSize = Annotated[str, _text(r"\d+[KMGT]?", 'memory as Slurm writes it: "4G", "500M"')]
Url = Annotated[str, _text(r"https?://\S+", "an http or https address")]
Network = Annotated[
    str, Meta(description="IPv4 addresses such as 203.0.113.0/24", extra=IS_NETWORK)
]
Hosts = Annotated[tuple[Text, ...], Meta(description="hosts, each once", extra=EACH_ONCE)]
Zones = Annotated[
    tuple[Text, ...],
    Meta(description="availability zones such as eu-central-1a, each once", extra=EACH_ONCE),
]
InstanceTypes = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+\Z")], ...],
    Meta(description="instance types such as c7i.xlarge, each once", extra=EACH_ONCE),
]


@dataclass(frozen=True, kw_only=True)
class SshConfig:
    """The ``[ssh]`` table: hosts of ``on = "ssh"`` and their connections."""

    hosts: Hosts = ()
    """``host``, ``user@host``, ``user@host:port`` or an alias of the SSH config."""

    config_file: Path | None = None
    """SSH config to read; None: ``~/.ssh/config`` and the system's."""

    known_hosts: Path | None = None
    """Accepted host keys; None: the files that the SSH config names."""

    key: Path | None = None
    """Private key; None: those that the SSH config names, and the SSH agent's."""

    folder: Folder = "~/.cache/skygrid"
    """Folder for environments, code and data, as the host spells it."""

    cache_max_gb: Gib = 20.0
    """GiB of data that a host keeps for later runs."""

    connect_timeout: Seconds = 30.0
    """Seconds in which a host must be reached for the first time, retries included."""

    lost_after: Seconds = 120.0
    """Seconds out of reach during a run after which a host is lost."""

    orphan_after: Seconds = 600.0
    """Seconds without a driver after which an agent ends itself and removes its files."""


Market = Literal["on-demand", "spot", "spot-then-on-demand"]
"""Purchase option of nodes on AWS."""


@dataclass(frozen=True, kw_only=True)
class AwsConfig:
    """The ``[aws]`` table: nodes of ``on = "aws"`` and their connections."""

    profile: Profile | None = None
    """Profile of the AWS configuration; None: as the AWS CLI chooses it."""

    region: Region | None = None
    """None: as the AWS CLI chooses it."""

    instance_types: InstanceTypes = ()
    """Allowed types; the cheapest with enough vCPUs comes first. Empty: a type of the compute class
    with `RunConfig.concurrency` vCPUs, or four.
    """

    mixed_architectures: bool = False
    """Allow x86_64 and arm64 nodes in one run, whose scores may differ in the last bits."""

    ami: ImageId | None = None
    """Image of the nodes; None: the newest Ubuntu 24.04 of the region."""

    user: UserName = "ubuntu"
    """Login user of the image; must be allowed to use sudo."""

    market: Market = "on-demand"
    zones: Zones = ()
    """Allowed availability zones; empty: all of the region."""

    subnet: SubnetId | None = None
    """Subnet of the nodes; None: the default subnets of the default VPC."""

    public_ip: bool = True
    """Give nodes a public address; without one they are reached at their private address."""

    jump: JumpHost | None = None
    """Host that connections go through, as with ``ssh -J``; None: straight to the node."""

    allow_cidr: Network | None = None
    """IPv4 addresses that may connect to port 22, such as ``203.0.113.0/24``; None: only the
    caller's address, looked up at `address_url`.
    """

    address_url: Url = "https://checkip.amazonaws.com"
    """Answers with the caller's IP address."""

    disk_gb: DiskGib = 30
    """GiB of each node's root volume."""

    replace: bool = True
    """Launch another node for one that AWS reclaims."""

    bucket: Bucket | None = None
    """S3 bucket through which large data reaches the nodes; None: over SSH."""

    bucket_over_gb: GibFromZero = 1.0
    """GiB of data above which the bucket is used."""

    lease_minutes: LeaseMinutes = 15.0
    """Minutes without a message from its driver after which a node ends itself."""

    launch_timeout: Seconds = 600.0
    """Seconds in which a node must be launched and reached for the first time."""

    price_per_hour: Price | None = None
    """USD per node and hour; None: the price of the pricing API."""

    folder: Folder = "~/.cache/skygrid"
    """Folder for environments, code and data on a node."""

    cache_max_gb: Gib = 20.0
    """GiB of data that a node keeps."""

    lost_after: Seconds = 120.0
    """Seconds out of reach during a run after which a node is lost."""

    orphan_after: Seconds = 600.0
    """Seconds without a driver after which an agent ends itself and removes its files."""


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """The ``[command]`` table: the command of ``on = "command"``."""

    start: CommandLine | None = None
    """Command for ``/bin/sh`` that runs ``{agent}`` on a node. ``{node}`` and ``{concurrency}``
    are filled in too."""

    shared: bool = False
    """True if nodes have skygrid and its Python at the same paths as this machine."""

    python: Text | None = None
    """Python on a node; None: this one if `shared`, else the first of ``python3``, ``python3.X``
    and ``python`` that has this machine's minor version and the packages."""

    start_timeout: Seconds = 300.0
    """Seconds in which a command must start its agent; an image may have to be pulled first."""

    stop_timeout: Seconds = 15.0
    """Seconds that a command may take to end when its agent has ended. Then it gets SIGTERM, and
    SIGKILL after the same time."""

    orphan_after: Orphaned = 120.0
    """Seconds without a message of the driver after which an agent ends itself."""


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """The ``[slurm]`` table: jobs of ``on = "slurm"``."""

    partition: Text | None = None
    """Partition of the jobs; None: the cluster's default."""

    account: Text | None = None
    """Account that the jobs are charged to; None: the user's default."""

    time: SlurmTime | None = None
    """Time limit of a job, as Slurm writes it; None: the partition's."""

    mem_per_slot: SlurmSize | None = None
    """Memory of a job for each of its slots, as Slurm writes it; None: the partition's."""

    constraint: Text | None = None
    """Features that a node must have, as for ``srun --constraint``."""

    extra: tuple[Text, ...] = ()
    """Further options of ``srun``."""

    shared_folder: Path | None = None
    """Folder on a file system of all nodes, for data; None: data goes through the channel, once to
    each node."""

    python: Text | None = None
    """Python on a node; None: this one if it is there, else as for ``[command]``."""

    start_timeout: Seconds = 300.0
    """Seconds in which a job that runs must start its agent."""

    stop_timeout: Seconds = 15.0
    """Seconds that ``srun`` may take to end when its agent has ended. Then it gets SIGTERM, and
    SIGKILL after the same time."""

    orphan_after: Orphaned = 120.0
    """Seconds without a message of the driver after which an agent, and so its job, ends."""


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """The ``[ray]`` table: the Ray cluster of ``on = "ray"``."""

    address: ClusterAddress | None = None
    """``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; None: start and end Ray here."""

    resources: Mapping[str, Amount] = field(default_factory=dict)
    """Resources that each node asks for besides its CPUs, such as ``{GPU = 1}``."""

    autoscaling: bool = False
    """True if the cluster grows on demand: nodes wait that no present machine could hold."""

    connect_timeout: Seconds = 120.0
    """Seconds in which the cluster must answer, or start on this machine."""

    start_timeout: Seconds = 300.0
    """Seconds in which a node must start its agent, once the cluster has placed it."""


@dataclass(frozen=True, kw_only=True)
class DaskConfig:
    """The ``[dask]`` table: the Dask cluster of ``on = "dask"``."""

    address: ClusterAddress | None = None
    """Address of the scheduler, ``tcp://HOST:8786``; None: see `scheduler_file`."""

    scheduler_file: Path | None = None
    """File that the scheduler has written; None, and no `address`: start Dask on this machine."""

    connect_timeout: Seconds = 120.0
    """Seconds in which the scheduler must answer, or start on this machine."""

    start_timeout: Seconds = 300.0
    """Seconds in which a node must start its agent, once it has a worker."""


def own_hash_seed() -> int:
    """Return the hash seed that this process was started with, 0 if none."""
    given = process_state.START.environment.get("PYTHONHASHSEED") or ""
    return int(given) if given.isdecimal() else 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings that decide where and how a search runs; none changes its result."""

    on: str = "local"
    """Place of the nodes, a name of `skygrid.nodes.registry`; `ON_WITH_NODES` where `nodes` is
    set and no place."""

    nodes: AtLeastOne | None = None
    """Number of machines; None: this one, or with ``on = "ssh"`` every host."""

    min_nodes: AtLeastOne | None = None
    """Number of ready nodes at which fits start; None: all."""

    concurrency: AtLeastOne | None = None
    """Fits at a time on each node; None: the node's vCPUs (divided between local nodes)."""

    name: RunName | None = None
    """The run's name; None: generated."""

    runs_dir: Path = Path("skygrid-runs")
    max_hours: Hours = 24.0
    """Hours after which no more fits are started; infinity: no limit."""

    max_cost: Budget | None = None
    """USD after which no more fits are started; None: no limit."""

    fit_timeout: Seconds | None = None
    """Seconds that one fit may take; None: no limit."""

    retries: NotNegative = 2
    """Further attempts for a fit whose slot died."""

    fail_under: Score | None = None
    """Score of the best candidate below which a command ends with exit code 5; None: none."""

    no_sharing: bool = False
    """One fit per candidate and split, even where one fit would answer several candidates."""

    hash_seed: HashSeed = field(default_factory=own_hash_seed)
    """PYTHONHASHSEED of all agents, so that sets of strings have the same order on all nodes;
    default: that of skygrid's own process, else 0.
    """

    start_method: Literal["auto", "fork", "spawn"] = "auto"
    """Start method of slots; auto: fork on Linux, spawn elsewhere."""

    memory_limit_gb: Gib | None = None
    """GiB that all slots of a node may use together; None: nine tenths of the node."""

    dry_run: bool = False
    """Only make and show the plan."""

    yes: bool = False
    """Do not ask before money is spent."""

    json: bool = False
    """Print results as one JSON document."""

    quiet: bool = False
    """Show no progress."""

    verbose: NotNegative = 0
    """Level of additional messages on stderr."""

    aws: AwsConfig = field(default_factory=AwsConfig)
    ssh: SshConfig = field(default_factory=SshConfig)
    command: CommandConfig = field(default_factory=CommandConfig)
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    dask: DaskConfig = field(default_factory=DaskConfig)
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Origin of each setting, for messages: ``--nodes``. It is not a setting itself."""

    found_file: Path | None = field(default=None, compare=False, repr=False)
    """The ``skygrid.toml`` that was read because it was there; None if the user named a file or
    none was read. It is not a setting itself."""

    def origin(self, name: str) -> str:
        """Return where a setting comes from; its name where it is a default."""
        return self.origins.get(name, name)


ON_WITH_NODES = "aws"
"""Place of ``--nodes N`` where nothing names a place."""

NO_SETTINGS = ("origins", "found_file")
"""The fields of `RunConfig` that are no settings."""

TABLES: dict[str, type] = {
    "aws": AwsConfig,
    "ssh": SshConfig,
    "command": CommandConfig,
    "slurm": SlurmConfig,
    "ray": RayConfig,
    "dask": DaskConfig,
    "environment": EnvironmentConfig,
}
"""Tables of the config file; each is a field of `RunConfig` by the same name."""

NOT_RECORDED = ("dry_run", "json", "quiet", "verbose", "yes")
"""Settings left out of a run's record: how results are shown may differ each time, and consent to a
cost does not extend to a resumed run, which costs anew.
"""
