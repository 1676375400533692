"""Images of nodes: the newest Ubuntu 24.04 of the region, or the configured image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from skygrid.config import AwsConfig
from skygrid.errors import ConfigError, NodeError
from skygrid.nodes.ec2.api import Clients, api_errors
from skygrid.nodes.ec2.api_errors import code_of, judge
from skygrid.nodes.ec2.records import Image

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id"
"""Public parameter maintained by Canonical:
https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/"""

_CANONICAL_WORDS = {"x86_64": "amd64", "arm64": "arm64"}


def named_image(clients: Clients, settings: AwsConfig) -> Image | None:
    """Return the configured image, or None.

    Raises
    ------
    ConfigError
        If the region lacks the image or it cannot be booted.
    NodeError
        If the API refuses.
    """
    if settings.ami is None:
        return None
    return _described(clients, {settings.ami: "ami under [aws]"})[0]


def ubuntu_images(clients: Clients, architectures: Iterable[str]) -> list[Image]:
    """Return the newest Ubuntu 24.04 for each architecture.

    Raises
    ------
    NodeError
        If the region has none.
    """
    names = [UBUNTU.format(_CANONICAL_WORDS[one]) for one in sorted(set(architectures))]
    try:
        found = clients.ssm.get_parameters(Names=names)["Parameters"]
    except api_errors() as error:
        raise NodeError(judge(error, "ssm:GetParameters", clients.region).text) from error
    if len(found) < len(names):
        raise NodeError(
            f"{clients.region} has no public parameter for Ubuntu 24.04 ({', '.join(names)}): name "
            "an image as ami under [aws]"
        )
    return _described(clients, {one["Value"]: one["Name"] for one in found})


def _described(clients: Clients, sources: dict[str, str]) -> list[Image]:
    try:
        answers = clients.ec2.describe_images(ImageIds=list(sources))["Images"]
    except api_errors() as error:
        code = code_of(error)
        if code.startswith("InvalidAMIID"):
            raise ConfigError(_no_image(clients, sources)) from None
        raise NodeError(judge(error, "ec2:DescribeImages", clients.region).text) from error
    if len(answers) < len(sources):
        raise ConfigError(_no_image(clients, sources))
    return [_image(one, sources[one["ImageId"]]) for one in answers]


def _no_image(clients: Clients, sources: dict[str, str]) -> str:
    return (
        f"there is no image {', '.join(sources)} in {clients.region} that this account may use: "
        "images belong to one region; name one as ami under [aws], or leave it out for Ubuntu 24.04"
    )


def _image(answer: Any, source: str) -> Image:
    ami, architecture = answer["ImageId"], answer.get("Architecture", "")
    if answer.get("State", "available") != "available":
        raise ConfigError(f"{source}: the image {ami} is {answer['State']}, not available yet")
    if architecture not in _CANONICAL_WORDS or answer.get("Platform"):
        raise ConfigError(
            f"{source}: the image {ami} is for {answer.get('Platform') or architecture}; nodes "
            "need Linux on x86_64 or arm64"
        )
    root = answer.get("RootDeviceName") or "/dev/sda1"
    sizes = [
        mapping.get("Ebs", {}).get("VolumeSize", 0)
        for mapping in answer.get("BlockDeviceMappings", ())
        if mapping.get("DeviceName") == root
    ]
    return Image(
        ami=ami,
        architecture=architecture,
        root_device=root,
        min_disk_gb=max(sizes, default=0) or 0,
        name=answer.get("Name", ""),
        source=source,
    )
