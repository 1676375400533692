"""Selection of instance types: the configured ones, or a suitable class."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from typing import Any

from skygrid.config import AwsConfig
from skygrid.errors import ConfigError, NodeError
from skygrid.nodes.ec2.api import Clients, api_errors
from skygrid.nodes.ec2.api_errors import judge
from skygrid.nodes.ec2.records import InstanceType

USUAL_VCPUS = 4
"""vCPUs of a node if no concurrency is configured."""

SIZES = {
    2: "large",
    4: "xlarge",
    8: "2xlarge",
    16: "4xlarge",
    32: "8xlarge",
    48: "12xlarge",
    64: "16xlarge",
    96: "24xlarge",
    192: "48xlarge",
}
"""Size names of the families below, by vCPUs."""

FAMILIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "x86_64": (("c7i", "c7a", "m7i", "m7a"), ("c6i", "c6a", "m6i", "m6a"), ("c5", "m5")),
    "arm64": (("c7g", "c8g", "m7g"), ("c6g", "m6g")),
}
"""Families by architecture, newest generation first. Burstable and flex families are missing,
because their processors do not run at full speed all the time."""


def own_architecture() -> str:
    """Return the architecture of this machine, on which scores equal a local run bit for bit."""
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def candidate_names(vcpus: int, architecture: str) -> list[list[str]]:
    """Return names of the smallest types with at least `vcpus` vCPUs, one list per generation.

    Raises
    ------
    ConfigError
        If no type is large enough.
    """
    for size, word in SIZES.items():
        if size >= vcpus:
            return [[f"{family}.{word}" for family in group] for group in FAMILIES[architecture]]
    raise ConfigError(
        f"concurrency is {vcpus}, and nodes chosen by skygrid have {max(SIZES)} vCPUs at the most: "
        "take more nodes, or name larger types as instance_types under [aws]"
    )


def check_architectures(types: Sequence[InstanceType], *, mixed: bool) -> None:
    """Refuse types of two architectures for one run, because scores may differ in the last bits.

    Parameters
    ----------
    types : sequence of InstanceType
    mixed : bool
        True if the user allows it.

    Raises
    ------
    ConfigError
        If there are two and it is not allowed.
    """
    names: dict[str, list[str]] = {}
    for one in types:
        names.setdefault(one.architecture, []).append(one.name)
    if len(names) > 1 and not mixed:
        listed = " and ".join(f"{', '.join(names[one])} ({one})" for one in sorted(names))
        raise ConfigError(
            f"instance_types under [aws] has types of two architectures, {listed}: scores of one "
            "may differ from those of the other in the last bits. Name types of one, or set "
            "mixed_architectures = true under [aws]"
        )


def find_types(
    clients: Clients,
    settings: AwsConfig,
    *,
    concurrency: int | None,
    architecture: str | None,
    zones: Sequence[str],
) -> list[InstanceType]:
    """Return the types that a run may use, unordered.

    Parameters
    ----------
    clients : Clients
    settings : AwsConfig
    concurrency : int or None
        Minimum vCPUs; None: 1 for configured types, else `USUAL_VCPUS`.
    architecture : str or None
        Architecture of the configured image; None: any.
    zones : sequence of str
        Zones of the nodes.

    Raises
    ------
    ConfigError
        If a configured type does not exist or all are too small.
    NodeError
        If the region offers no suitable type.
    """
    if settings.instance_types:
        return _named(clients, settings.instance_types, concurrency, architecture, zones)
    vcpus = concurrency or USUAL_VCPUS
    tried = []
    for names in candidate_names(vcpus, architecture or own_architecture()):
        found = [one for one in _described(clients, names, zones) if one.zones]
        if found:
            return found
        tried += names
    raise NodeError(
        f"none of {', '.join(tried)} is offered in {', '.join(zones)}: name types as "
        "instance_types under [aws], or choose another region"
    )


def _named(
    clients: Clients,
    names: Sequence[str],
    concurrency: int | None,
    architecture: str | None,
    zones: Sequence[str],
) -> list[InstanceType]:
    found = _described(clients, names, zones)
    unknown = sorted(set(names) - {one.name for one in found})
    if unknown:
        raise ConfigError(
            f"instance_types under [aws] names {', '.join(unknown)}, which {clients.region} does "
            "not have: see `aws ec2 describe-instance-types --region "
            f"{clients.region} --query InstanceTypes[].InstanceType`"
        )
    fitting = fit(found, concurrency, architecture)
    offered = [one for one in fitting if one.zones]
    if not offered:
        listed = ", ".join(one.name for one in fitting)
        raise NodeError(
            f"{listed} is not offered in {', '.join(zones)}: name other zones or instance_types "
            "under [aws]"
        )
    return offered


def fit(
    found: Iterable[InstanceType], concurrency: int | None, architecture: str | None
) -> list[InstanceType]:
    """Return the types with enough vCPUs and the architecture of the image.

    Raises
    ------
    ConfigError
        If there is none.
    """
    found = list(found)
    booting = [one for one in found if architecture in (None, one.architecture)]
    if not booting:
        raise ConfigError(
            f"ami under [aws] is for {architecture}, and instance_types names only types of "
            f"another architecture: {', '.join(one.name for one in found)}"
        )
    fitting = [one for one in booting if one.vcpus >= (concurrency or 1)]
    if not fitting:
        sizes = ", ".join(f"{one.name} ({one.vcpus})" for one in booting)
        raise ConfigError(
            f"concurrency is {concurrency}, and no type of instance_types under [aws] has enough "
            f"vCPUs: {sizes}"
        )
    return fitting


def _described(clients: Clients, names: Sequence[str], zones: Sequence[str]) -> list[InstanceType]:
    """Return the types that EC2 knows, with those of `zones` that offer them."""
    named = {"instance-type": list(names)}
    action = "ec2:DescribeInstanceTypes"
    try:
        types = clients.described("instance_types", named)
        action = "ec2:DescribeInstanceTypeOfferings"
        offerings = clients.described(
            "instance_type_offerings", named, LocationType="availability-zone"
        )
    except api_errors() as error:
        raise NodeError(judge(error, action, clients.region).text) from error
    places: dict[str, set[str]] = {}
    for one in offerings:
        places.setdefault(one["InstanceType"], set()).add(one["Location"])
    return [_type(one, places.get(one["InstanceType"], set()) & set(zones)) for one in types]


def vcpus_of(clients: Clients, names: Iterable[str]) -> dict[str, int]:
    """Return the vCPUs of existing types.

    Raises
    ------
    Exception
        An error of `api_errors`.
    """
    named = sorted(names)
    found = clients.described("instance_types", {"instance-type": named}) if named else []
    return {one["InstanceType"]: int(one["VCpuInfo"]["DefaultVCpus"]) for one in found}


def _type(answer: Any, zones: Iterable[str]) -> InstanceType:
    architectures = answer["ProcessorInfo"]["SupportedArchitectures"]
    return InstanceType(
        name=answer["InstanceType"],
        vcpus=answer["VCpuInfo"]["DefaultVCpus"],
        memory_gib=answer["MemoryInfo"]["SizeInMiB"] / 1024,
        architecture="arm64" if "arm64" in architectures else "x86_64",
        markets=tuple(answer.get("SupportedUsageClasses", ("on-demand",))),
        zones=tuple(sorted(zones)),
    )
