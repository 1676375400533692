"""Conversion between records and the EC2 API: requests, tags and answers. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from skygrid.config import AwsConfig
from skygrid.errors import NodeError
from skygrid.nodes.ec2.records import CloudNode, Image, Pool, RunMark

RUN = "skygrid:run"
NAME = "skygrid:name"
NODE = "skygrid:node"
OWNER = "skygrid:owner"
EXPIRES = "skygrid:expires"
PRICE = "skygrid:dollars-per-hour"
BUCKET = "skygrid:bucket"

TOKEN_LENGTH = 64
USER_DATA_BYTES = 16384
TAG_VALUE_LENGTH = 256
"""Limits of EC2: characters, bytes before base64 encoding, characters.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html"""


def check_user_data(node: str, user_data: bytes) -> None:
    """Refuse user data above EC2's limit.

    Raises
    ------
    NodeError
        If `user_data` is too long.
    """
    if len(user_data) > USER_DATA_BYTES:
        raise NodeError(
            f"the user data of {node} has {len(user_data)} bytes, and EC2 takes {USER_DATA_BYTES}"
        )


def client_token(run_id: str, node: str, generation: int) -> str:
    """Return the client token that makes a launch idempotent: at most 64 ASCII characters."""
    token = f"{run_id}-{node}-{generation}"
    if len(token) <= TOKEN_LENGTH and token.isascii():
        return token
    return hashlib.sha256(token.encode()).hexdigest()


def run_tags(mark: RunMark, settings: AwsConfig) -> dict[str, str]:
    """Return the tags of every resource of a run."""
    tags = {
        RUN: mark.run_id,
        NAME: mark.name,
        OWNER: mark.owner[:TAG_VALUE_LENGTH],
        EXPIRES: to_text(mark.expires_at),
    }
    return tags | ({BUCKET: settings.bucket} if settings.bucket else {})


def specifications(kinds: Iterable[str], tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the ``TagSpecifications`` for the creation of these kinds of resources."""
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": listed} for kind in kinds]


def run_request(
    *,
    node: str,
    pool: Pool,
    image: Image,
    token: str,
    group_id: str,
    user_data: bytes,
    mark: RunMark,
    settings: AwsConfig,
) -> dict[str, Any]:
    """Return the arguments of the ``RunInstances`` call that launches a node."""
    tags = run_tags(mark, settings) | {NODE: node, "Name": f"skygrid {mark.name} {node}"}
    if pool.dollars_per_hour is not None:
        tags[PRICE] = f"{pool.dollars_per_hour:.6g}"
    request: dict[str, Any] = {
        "ImageId": image.ami,
        "InstanceType": pool.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token,
        "UserData": user_data,  # boto3 encodes it as base64
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "BlockDeviceMappings": [_root_volume(image, settings)],
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": pool.subnet,
                "Groups": [group_id],
                "AssociatePublicIpAddress": settings.public_ip,
                "DeleteOnTermination": True,
            }
        ],
        "TagSpecifications": specifications(("instance", "volume"), tags),
    }
    if pool.market == "spot":
        request["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
    return request


def _root_volume(image: Image, settings: AwsConfig) -> dict[str, Any]:
    return {
        "DeviceName": image.root_device,
        "Ebs": {
            "VolumeSize": max(settings.disk_gb, image.min_disk_gb),
            "VolumeType": "gp3",
            "Encrypted": True,
            "DeleteOnTermination": True,
        },
    }


def from_answer(answer: Mapping[str, Any], region: str) -> CloudNode:
    """Return an instance from the ``Instances`` of an answer of EC2."""
    tags = {tag["Key"]: tag["Value"] for tag in answer.get("Tags", ())}
    launched = answer.get("LaunchTime")
    return CloudNode(
        instance_id=answer["InstanceId"],
        node=tags.get(NODE, ""),
        run_id=tags.get(RUN, ""),
        run_name=tags.get(NAME, ""),
        owner=tags.get(OWNER, ""),
        region=region,
        instance_type=answer.get("InstanceType", ""),
        market="spot" if answer.get("InstanceLifecycle") == "spot" else "on-demand",
        zone=answer.get("Placement", {}).get("AvailabilityZone", ""),
        state=answer.get("State", {}).get("Name", ""),
        reason=_reason(answer),
        public_ip=answer.get("PublicIpAddress") or None,
        private_ip=answer.get("PrivateIpAddress") or None,
        launched_at=launched.timestamp() if launched is not None else 0.0,
        expires_at=from_text(tags.get(EXPIRES, "")),
        dollars_per_hour=_number(tags.get(PRICE)),
        bucket=tags.get(BUCKET),
    )


def _reason(answer: Mapping[str, Any]) -> str:
    told = answer.get("StateReason") or {}
    code, message = str(told.get("Code", "")), str(told.get("Message", ""))
    text = message if not code or code in message else f"{code}: {message}".rstrip(": ")
    return " ".join((text or str(answer.get("StateTransitionReason") or "")).split())


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None  # users may change tags


def to_text(moment: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> float:
    """Return the seconds since the epoch that `to_text` wrote; 0 for any other text."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:  # a user changed the tag
        return 0.0
