"""Records of EC2 nodes: plan, tags, instance."""

from __future__ import annotations

from typing import Literal

import msgspec

from skygrid.nodes.records import RentedNode

Buying = Literal["on-demand", "spot"]
"""Market of one instance."""

GONE_STATES = frozenset({"shutting-down", "terminated", "stopping", "stopped"})
"""Final states of an instance: nodes end on shutdown, and none is stopped for later use."""


LEAST_BILLED_SECONDS = 60.0
"""Minimum billed time. Linux instances are billed by the second, at least for a minute:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html"""


def billed(dollars_per_hour: float | None, seconds: float) -> float | None:
    """Return the USD of an instance that ran for `seconds`; None if its price is unknown."""
    if dollars_per_hour is None:
        return None
    return dollars_per_hour * max(LEAST_BILLED_SECONDS, seconds) / 3600


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A source of instances: EC2 has separate capacity for each type, market and zone."""

    instance_type: str
    market: Buying
    zone: str
    subnet: str
    architecture: str = ""
    """``x86_64`` or ``arm64``; empty in files of earlier versions."""

    dollars_per_hour: float | None = None
    """USD per instance and hour, without volume and address; None if unknown."""

    price_source: str = ""
    """Source and date of the price; empty without one."""

    def __str__(self) -> str:
        return f"{self.instance_type} {self.market} in {self.zone}"


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A machine image."""

    ami: str
    architecture: str
    """``x86_64`` or ``arm64``."""

    root_device: str
    """Device name of the root volume, such as ``/dev/sda1``."""

    min_disk_gb: int = 0
    """Size of the root volume's snapshot in GiB."""

    name: str = ""
    source: str = ""
    """Name of the public parameter, or of the config's setting."""


class InstanceType(msgspec.Struct, frozen=True, kw_only=True):
    """An instance type, as EC2 describes it."""

    name: str
    vcpus: int
    memory_gib: float
    architecture: str
    markets: tuple[str, ...]
    zones: tuple[str, ...]
    """Zones that offer it, among those requested."""


class CloudPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All decisions made before a launch."""

    region: str
    account: str
    nodes: int
    market: Literal["on-demand", "spot", "spot-then-on-demand"]
    images: dict[str, Image]
    """Image by architecture, for the architectures of `pools`."""

    types: dict[str, InstanceType]
    """Type by name, for the types of `pools`."""

    pools: tuple[Pool, ...]
    """Pools in the order of trial; at least one."""

    vpc: str
    notes: tuple[str, ...] = ()
    """Notes for the user that do not prevent the run."""

    @property
    def first_type(self) -> InstanceType:
        """Type of the first pool."""
        return self.types[self.pools[0].instance_type]


class RunMark(msgspec.Struct, frozen=True, kw_only=True):
    """Facts in the tags of every instance, volume and group of a run."""

    run_id: str
    """Id of the run, hexadecimal."""

    name: str
    owner: str
    """ARN of the caller, then user@host."""

    expires_at: float
    """Seconds since the epoch at which a node ends itself in any case."""


class CloudNode(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of a run, as the API described it last."""

    instance_id: str
    node: str
    """Name of the node within its run, such as ``aws-2``."""

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
    """Reason for its end, in the API's words; empty while it runs."""

    public_ip: str | None = None
    private_ip: str | None = None
    launched_at: float = 0.0
    """Seconds since the epoch."""

    expires_at: float = 0.0
    dollars_per_hour: float | None = None
    bucket: str | None = None
    """Bucket of the run's data, if any."""

    @property
    def gone(self) -> bool:
        """True if the instance has ended or is ending."""
        return self.state in GONE_STATES

    def dollars(self, now: float) -> float | None:
        """Return the USD from launch until `now` (seconds since the epoch); None if unknown."""
        return billed(self.dollars_per_hour, now - self.launched_at)


def as_rented(node: CloudNode, now: float) -> RentedNode:
    """Return an instance as every place describes its nodes.

    Parameters
    ----------
    node : CloudNode
    now : float
        Seconds since the epoch.
    """
    return RentedNode(
        run=node.run_name,
        run_id=node.run_id,
        node=node.node,
        instance=node.instance_id,
        instance_type=node.instance_type,
        market=node.market,
        region=node.region,
        zone=node.zone,
        state=node.state,
        address=node.public_ip or node.private_ip,
        owner=node.owner,
        age_seconds=max(0.0, now - node.launched_at),
        ends_by=node.expires_at,
        dollars_per_hour=node.dollars_per_hour,
        dollars=node.dollars(now),
    )
