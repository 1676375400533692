"""Quotas of an AWS account that limit its nodes, named as in the Service Quotas console.

The codes are those of public lists made with ``aws service-quotas list-service-quotas
--service-code ec2``; they were not compared with an account.
"""

from __future__ import annotations

import re

import msgspec


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """A quota of the account, named as in its console."""

    service: str
    code: str
    name: str


def _vcpus(code: str, name: str) -> Quota:
    return Quota(service="ec2", code=code, name=name)


ON_DEMAND_STANDARD = _vcpus(
    "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"
)
SPOT_STANDARD = _vcpus(
    "L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"
)

_STANDARD = dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), "Standard")
CLASSES = _STANDARD | {
    "dl": "DL",
    "f": "F",
    "g": "G and VT",
    "gr": "G and VT",
    "hpc": "HPC",
    "inf": "Inf",
    "p": "P",
    "trn": "Trn",
    "u": "High Memory",
    "vt": "G and VT",
    "x": "X",
}
"""Classes of instance families that share a quota, by the letters before the first digit."""

ON_DEMAND = {
    "Standard": ON_DEMAND_STANDARD,
    "DL": _vcpus("L-6E869C2A", "Running On-Demand DL instances"),
    "F": _vcpus("L-74FC7D96", "Running On-Demand F instances"),
    "G and VT": _vcpus("L-DB2E81BA", "Running On-Demand G and VT instances"),
    "HPC": _vcpus("L-F7808C92", "Running On-Demand HPC instances"),
    "High Memory": _vcpus("L-43DA4232", "Running On-Demand High Memory instances"),
    "Inf": _vcpus("L-1945791B", "Running On-Demand Inf instances"),
    "P": _vcpus("L-417A185B", "Running On-Demand P instances"),
    "Trn": _vcpus("L-2C3B7624", "Running On-Demand Trn instances"),
    "X": _vcpus("L-7295265B", "Running On-Demand X instances"),
}
SPOT = {
    "Standard": SPOT_STANDARD,
    "DL": _vcpus("L-85EED4F7", "All DL Spot Instance Requests"),
    "F": _vcpus("L-88CF9481", "All F Spot Instance Requests"),
    "G and VT": _vcpus("L-3819A6DF", "All G and VT Spot Instance Requests"),
    "Inf": _vcpus("L-B5D1601B", "All Inf Spot Instance Requests"),
    "P2 to P4": _vcpus("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
    "P5": _vcpus("L-C4BD4855", "All P5 Spot Instance Requests"),
    "Trn": _vcpus("L-6B0D517C", "All Trn Spot Instance Requests"),
    "X": _vcpus("L-E3A00192", "All X Spot Instance Requests"),
}
"""vCPU quotas by class. Only spot instances have separate ones for generations of P."""

_P_GENERATIONS = {"2": "P2 to P4", "3": "P2 to P4", "4": "P2 to P4", "5": "P5"}

VCPU_CODES = frozenset(
    {"InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"}
)
"""Errors about a quota that depends on market and family."""

OTHER = {
    "NetworkInterfaceLimitExceeded": Quota(
        service="vpc", code="L-DF5E4CA3", name="Network interfaces per Region"
    ),
    "RulesPerSecurityGroupLimitExceeded": Quota(
        service="vpc", code="L-0EA8095F", name="Inbound or outbound rules per security group"
    ),
    "SecurityGroupLimitExceeded": Quota(
        service="vpc", code="L-E79EC296", name="VPC security groups per Region"
    ),
    "VolumeLimitExceeded": Quota(
        service="ebs", code="L-7A658B76", name="Storage for General Purpose SSD (gp3) volumes"
    ),
}
"""Other quotas by the error that reports them as used up."""


def vcpu_quota(market: str, instance_type: str) -> Quota | None:
    """Return the vCPU quota that limits a type on a market; None for an unknown family.

    Parameters
    ----------
    market : {"on-demand", "spot"}
    instance_type : str
    """
    found = re.match(r"([a-z]+)-?(\d?)", instance_type)
    if found is None or found[1] not in CLASSES:
        return None
    family = CLASSES[found[1]]
    if market != "spot":
        return ON_DEMAND[family]
    return SPOT.get(_P_GENERATIONS.get(found[2], "") if family == "P" else family)


def quota_page(quota: Quota | None, region: str) -> str:
    """Return the URL of the console page for increasing a quota; None: of the list for EC2."""
    home = f"https://{region}.console.aws.amazon.com/servicequotas/home/services"
    return f"{home}/ec2/quotas" if quota is None else f"{home}/{quota.service}/quotas/{quota.code}"
