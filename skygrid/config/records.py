"""The settings of a run, with their defaults and ranges, which stand here and nowhere else.

The description of a range completes "it must be ..." in the message about a value outside of it.
"""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from skygrid.environment.settings import EnvironmentConfig, Text
from skygrid.worker.user_code import process_state

FINITE = sys.float_info.max


def _is_network(text: str) -> bool:
    """Whether text is an IPv4 network as EC2 takes it: without bits behind its length."""
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return "/" in text


def _are_different(texts: tuple[str, ...]) -> bool:
    return len(set(texts)) == len(texts)


EACH_ONCE = {"holds": _are_different}
IS_NETWORK = {"holds": _is_network}
"""Conditions that `Meta` has no word for."""


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
Gib = Annotated[float, _positive("GiB")]
GibFromZero = Annotated[float, _from_zero("GiB")]
Budget = Annotated[float, _positive("USD")]
Price = Annotated[float, _from_zero("USD")]
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
    """The ``[ssh]`` table: the hosts of ``on = "ssh"`` and how they are reached."""

    hosts: Hosts = ()
    """``host``, ``user@host``, ``user@host:port`` or an alias of the SSH config."""

    config_file: Path | None = None
    """SSH config to read; None: ``~/.ssh/config`` and the system's."""

    known_hosts: Path | None = None
    """Host keys that are accepted; None: the files that the SSH config names."""

    key: Path | None = None
    """Private key; None: those that the SSH config names, and the SSH agent's."""

    folder: Folder = "~/.cache/skygrid"
    """Where a host keeps environments, code and data, as the host spells it."""

    cache_max_gb: Gib = 20.0
    """GiB of data that a host keeps for later runs."""

    connect_timeout: Seconds = 30.0
    """Seconds in which a host must be reached for the first time, further tries included."""

    lost_after: Seconds = 120.0
    """Seconds for which a host may be out of reach during a run before it is lost."""

    orphan_after: Seconds = 600.0
    """Seconds without a driver after which an agent ends itself and removes what it made."""


Market = Literal["on-demand", "spot", "spot-then-on-demand"]
"""How nodes on AWS are bought."""


@dataclass(frozen=True, kw_only=True)
class AwsConfig:
    """The ``[aws]`` table: which nodes ``on = "aws"`` starts, and how they are reached."""

    profile: Profile | None = None
    """Profile of the AWS configuration; None: as the AWS CLI chooses it."""

    region: Region | None = None
    """None: as the AWS CLI chooses it."""

    instance_types: InstanceTypes = ()
    """Types that may be taken, the cheapest that has the vCPUs first; empty: a type of the
    compute class with `RunConfig.concurrency` vCPUs, or four."""

    ami: ImageId | None = None
    """Image of the nodes; None: the newest Ubuntu 24.04 of the region."""

    user: UserName = "ubuntu"
    """Who is logged in as; the image has that user, and lets it use sudo."""

    market: Market = "on-demand"
    zones: Zones = ()
    """Availability zones that may be taken; empty: all of the region."""

    subnet: SubnetId | None = None
    """Subnet of the nodes; None: the default subnets of the default VPC."""

    public_ip: bool = True
    """Whether nodes have a public address; without one they are reached at their private one."""

    jump: JumpHost | None = None
    """Host that connections go through, as behind ``ssh -J``; None: straight to the node."""

    allow_cidr: Network | None = None
    """IPv4 addresses that may connect to port 22, such as ``203.0.113.0/24``; None: only the
    address that `address_url` says is the caller's."""

    address_url: Url = "https://checkip.amazonaws.com"
    """Answers with the address that asks."""

    disk_gb: DiskGib = 30
    """GiB of each node's root volume."""

    replace: bool = True
    """Whether another node is launched for one that AWS took back."""

    bucket: Bucket | None = None
    """S3 bucket through which large data reaches the nodes; None: over SSH."""

    bucket_over_gb: GibFromZero = 1.0
    """GiB of data above which the bucket is used."""

    lease_minutes: LeaseMinutes = 15.0
    """Minutes after which a node that hears nothing of its driver ends itself."""

    launch_timeout: Seconds = 600.0
    """Seconds in which a node must be launched and reached for the first time."""

    price_per_hour: Price | None = None
    """USD of one node for an hour; None: as the pricing API says."""

    folder: Folder = "~/.cache/skygrid"
    """Where a node keeps environments, code and data."""

    cache_max_gb: Gib = 20.0
    """GiB of data that a node keeps."""

    lost_after: Seconds = 120.0
    """Seconds for which a node may be out of reach during a run before it is lost."""

    orphan_after: Seconds = 600.0
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

    nodes: AtLeastOne | None = None
    """Machines; None: this one, or with ``on = "ssh"`` every host."""

    min_nodes: AtLeastOne | None = None
    """Fits start when so many nodes are ready; None: all of them."""

    concurrency: AtLeastOne | None = None
    """Fits at a time on each node; None: the node's vCPUs (shared out among local nodes)."""

    name: RunName | None = None
    """The run's name; None: made up."""

    runs_dir: Path = Path("skygrid-runs")
    max_hours: Hours = 24.0
    """Hours after which no more fits are started; infinity: no limit."""

    max_cost: Budget | None = None
    """USD after which no more fits are started; None: no limit."""

    fit_timeout: Seconds | None = None
    """Seconds that one fit may take; None: no limit."""

    retries: NotNegative = 2
    """How often a fit that took its slot down is tried again."""

    no_sharing: bool = False
    """One fit for each candidate and split, also where one fit would answer several candidates."""

    hash_seed: HashSeed = field(default_factory=own_hash_seed)
    """PYTHONHASHSEED of all agents, so that sets of texts have one order on all nodes; default:
    that of skygrid's own process, else 0."""

    start_method: Literal["auto", "fork", "spawn"] = "auto"
    """How an agent starts its slots; auto: fork on Linux, spawn elsewhere."""

    memory_limit_gb: Gib | None = None
    """GiB that all slots of a node may hold together; None: nine tenths of the node."""

    dry_run: bool = False
    """Only make and show the plan."""

    yes: bool = False
    """Ask nothing before money is spent."""

    json: bool = False
    """Print results as one JSON document."""

    quiet: bool = False
    """Show no progress."""

    verbose: NotNegative = 0
    """How much more than usual is said on stderr."""

    aws: AwsConfig = field(default_factory=AwsConfig)
    ssh: SshConfig = field(default_factory=SshConfig)
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)


TABLES: dict[str, type] = {"aws": AwsConfig, "ssh": SshConfig, "environment": EnvironmentConfig}
"""Tables of the config file; each is a field of `RunConfig` by the same name."""

NOT_RECORDED = ("dry_run", "json", "quiet", "verbose", "yes")
"""How results are shown is for whoever looks, and no part of a run's record. Nor is a yes to its
cost: a resumed run costs anew."""
