"""What is known of nodes on EC2: the plan of a run, its mark, an instance, an end."""

from __future__ import annotations

from typing import Literal

import msgspec

Buying = Literal["on-demand", "spot"]
"""How one instance is bought."""

GONE_STATES = frozenset({"shutting-down", "terminated", "stopping", "stopped"})
"""States of an instance that will not work any more: nodes end on shutdown, none is stopped."""


LEAST_BILLED_SECONDS = 60.0
"""Linux instances are billed by the second, for a minute at the least:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html"""


def billed(dollars_per_hour: float | None, seconds: float) -> float | None:
    """USD of an instance that ran for so many seconds; None: its price is not known."""
    if dollars_per_hour is None:
        return None
    return dollars_per_hour * max(LEAST_BILLED_SECONDS, seconds) / 3600


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Where one instance can be had: capacity is a matter of type, market and zone."""

    instance_type: str
    market: Buying
    zone: str
    subnet: str
    dollars_per_hour: float | None = None
    """USD of one instance for an hour, volume and address not included; None: not known."""

    price_source: str = ""
    """Where the price is from and of which day; empty without one."""

    def __str__(self) -> str:
        return f"{self.instance_type} {self.market} in {self.zone}"


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance boots."""

    ami: str
    architecture: str
    """``x86_64`` or ``arm64``."""

    root_device: str
    """Device name of the root volume, such as ``/dev/sda1``."""

    min_disk_gb: int = 0
    """GiB of the snapshot that the root volume is made of."""

    name: str = ""
    source: str = ""
    """Where it was found: the name of the public parameter, or the config."""


class InstanceType(msgspec.Struct, frozen=True, kw_only=True):
    """An instance type, as EC2 describes it."""

    name: str
    vcpus: int
    memory_gib: float
    architecture: str
    markets: tuple[str, ...]
    zones: tuple[str, ...]
    """Where it is offered, of the zones that were asked for."""


class CloudPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is decided before anything is launched."""

    region: str
    account: str
    nodes: int
    market: Literal["on-demand", "spot", "spot-then-on-demand"]
    images: dict[str, Image]
    """By architecture, one for each that a pool needs."""

    types: dict[str, InstanceType]
    """By name, one for each type that a pool has."""

    pools: tuple[Pool, ...]
    """In the order of trial; at least one."""

    vpc: str
    notes: tuple[str, ...] = ()
    """What the person should know and what stops nothing."""

    @property
    def first_type(self) -> InstanceType:
        """The type of the pool that is tried first."""
        return self.types[self.pools[0].instance_type]


class RunMark(msgspec.Struct, frozen=True, kw_only=True):
    """What every instance, volume and group of a run is tagged with."""

    run_id: str
    """The run's own mark, hexadecimal."""

    name: str
    owner: str
    """Who started it: ARN of the caller, then user@host."""

    expires_at: float
    """Seconds since the epoch at which a node ends itself whatever happens."""


class CloudNode(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of a run, as the API last told it."""

    instance_id: str
    node: str
    """The node's name within its run, such as ``aws-2``."""

    run_id: str
    run_name: str
    owner: str
    region: str
    instance_type: str
    market: Buying
    zone: str
    state: str
    """``pending``, ``running``, ``shutting-down``, ``terminated``, ``stopping`` or ``stopped``."""

    reason: str = ""
    """Why it ended, in the API's words; empty while it runs."""

    public_ip: str | None = None
    private_ip: str | None = None
    launched_at: float = 0.0
    """Seconds since the epoch."""

    expires_at: float = 0.0
    dollars_per_hour: float | None = None
    bucket: str | None = None
    """Where the run put its data, if it did."""

    @property
    def gone(self) -> bool:
        """Whether it works no more."""
        return self.state in GONE_STATES

    def dollars(self, now: float) -> float | None:
        """USD from its launch until `now` (seconds since the epoch); None: price not known."""
        return billed(self.dollars_per_hour, now - self.launched_at)


class TeardownReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a run after its end."""

    left: tuple[CloudNode, ...]
    """Instances that are not known to be terminated."""

    verified: bool
    """True when the API was asked by tag, and knows nothing of the run that still costs."""

    ended: int = 0
    """Instances that the run had in all."""

    notes: tuple[str, ...] = ()
    """Each thing that is left, or could not be looked for, and what to do about it."""
