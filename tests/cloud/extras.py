"""Replies that moto lacks: image parameters, prices, quotas. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.cloud.api import ApiError, Reply, Request, ec2_reply, json_reply, tag
from tests.cloud.faults import Settings

IMAGES = {"x86_64": "ami-0a5e9d1c3b7f20861", "arm64": "ami-0a5e9d1c3b7f20a64"}
"""Ubuntu 24.04 images by architecture; the same in every region here."""

CANONICAL = "099720109477"
"""Canonical's account."""

PARAMETERS = {
    f"/aws/service/canonical/ubuntu/server/24.04/stable/current/{word}/hvm/{disk}/ami-id": image
    for word, image in (("amd64", IMAGES["x86_64"]), ("arm64", IMAGES["arm64"]))
    for disk in ("ebs-gp3", "ebs-gp2")
}

PER_VCPU = {
    "c7i": 0.044625,
    "c7a": 0.05132,
    "c7g": 0.03625,
    "c6i": 0.0425,
    "c6a": 0.03825,
    "c6g": 0.034,
    "c5": 0.0425,
    "m7i": 0.0504,
    "m7a": 0.05796,
    "m7g": 0.0408,
    "m6i": 0.048,
    "m5": 0.048,
    "r7i": 0.06615,
}
"""On-demand prices of this cloud, in USD per vCPU and hour; close to those of us-east-1."""

SPOT_SHARE = {"a": 0.40, "b": 0.35, "c": 0.45}
"""Spot price over on-demand price by the last letter of the zone; 0.42 elsewhere."""

QUOTAS = {
    "L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    "L-34B43A08": "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
}

IMAGE_ENTRIES = [
    {
        "ami_id": image,
        "name": f"ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{word}-server-20260101",
        "description": f"Canonical, Ubuntu, 24.04, {word} noble image",
        "owner_id": CANONICAL,
        "public": True,
        "virtualization_type": "hvm",
        "architecture": architecture,
        "state": "available",
        "platform": None,
        "image_type": "machine",
        "hypervisor": "xen",
        "root_device_name": "/dev/sda1",
        "root_device_type": "ebs",
        "sriov": "simple",
        "creation_date": "2026-01-01T00:00:00.000Z",
    }
    for architecture, word, image in (
        ("x86_64", "amd64", IMAGES["x86_64"]),
        ("arm64", "arm64", IMAGES["arm64"]),
    )
]
"""Images in the format of moto's MOTO_AMIS_PATH."""


def price(instance_type: str, vcpus: int) -> float | None:
    """Return the on-demand price in USD per hour, or None for a type without a list price."""
    per_vcpu = PER_VCPU.get(instance_type.partition(".")[0])
    return None if per_vcpu is None else round(per_vcpu * vcpus, 6)


def get_parameter(request: Request) -> Reply | None:
    """Answer SSM's GetParameter(s) for Canonical's parameters; None for other names."""
    wanted = request.document.get("Names") or [request.document.get("Name", "")]
    if not any(name.startswith("/aws/service/canonical/") for name in wanted):
        return None
    found = [
        {
            "Name": name,
            "Type": "String",
            "Value": PARAMETERS[name],
            "Version": 1,
            "LastModifiedDate": 1767225600.0,
            "ARN": f"arn:aws:ssm:{request.region}::parameter{name}",
            "DataType": "aws:ec2:image",
        }
        for name in wanted
        if name in PARAMETERS
    ]
    if request.action == "GetParameters":
        missing = [name for name in wanted if name not in PARAMETERS]
        return json_reply({"Parameters": found, "InvalidParameters": missing})
    if not found:
        raise ApiError(code="ParameterNotFound", message="")
    return json_reply({"Parameter": found[0]})


def get_service_quota(request: Request, settings: Settings) -> Reply:
    """Answer Service Quotas' GetServiceQuota for the two vCPU quotas of instances."""
    code = request.document.get("QuotaCode", "")
    if request.document.get("ServiceCode") != "ec2" or code not in QUOTAS:
        raise ApiError(code="NoSuchResourceException", message=f"{code}: no such quota")
    vcpus = settings.on_demand_vcpus if code == "L-1216C47A" else settings.spot_vcpus
    quota = {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{request.region}:123456789012:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": QUOTAS[code],
        "Value": float(vcpus),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
    return json_reply({"Quota": quota})


def describe_key(settings: Settings) -> Reply:
    """Answer KMS' DescribeKey for the default key of volumes."""
    own = not settings.volume_key.endswith("alias/aws/ebs")
    key = {
        "KeyId": settings.volume_key.rpartition("/")[2],
        "Arn": settings.volume_key,
        "Enabled": settings.volume_key_state == "Enabled",
        "KeyManager": "CUSTOMER" if own else "AWS",
        "KeyState": settings.volume_key_state,
    }
    return json_reply({"KeyMetadata": key})


def get_products(request: Request, types: Mapping[str, Any]) -> Reply:
    """Answer the pricing API's GetProducts; products differ by tenancy, system and reservation."""
    filters = {one["Field"]: one["Value"] for one in request.document.get("Filters", ())}
    if request.document.get("ServiceCode") != "AmazonEC2":
        raise ApiError(code="NotFoundException", message="The service code is not known.")
    wanted = filters.get("instanceType")
    names: Iterable[str] = types if wanted is None else [wanted] if wanted in types else []
    products = [
        product
        for name in names
        for product in _products(name, types[name], filters.get("regionCode", "us-east-1"))
        if _matches(product, filters)
    ]
    most = int(request.document.get("MaxResults", 100))
    start = int(request.document.get("NextToken") or 0)
    document: dict[str, Any] = {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(product) for product in products[start : start + most]],
    }
    if start + most < len(products):
        document["NextToken"] = str(start + most)
    return json_reply(document)


def _matches(product: Mapping[str, Any], filters: Mapping[str, str]) -> bool:
    attributes = product["product"]["attributes"]
    return all(
        str(attributes.get(name, "")).lower() == value.lower() for name, value in filters.items()
    )


def _products(name: str, details: Mapping[str, Any], region: str) -> Iterable[dict[str, Any]]:
    vcpus = details["VCpuInfo"]["DefaultVCpus"]
    dollars = price(name, vcpus)
    if dollars is None:
        return
    for system, factor in (("Linux", 1.0), ("Windows", 2.0)):
        for tenancy, status, paid in (
            ("Shared", "Used", 1.0),
            ("Shared", "UnusedCapacityReservation", 1.0),
            ("Shared", "AllocatedCapacityReservation", 0.0),
            ("Dedicated", "Used", 1.06),
        ):
            attributes = {
                "instanceType": name,
                "regionCode": region,
                "location": LOCATIONS.get(region, region),
                "locationType": "AWS Region",
                "operatingSystem": system,
                "tenancy": tenancy,
                "capacitystatus": status,
                "preInstalledSw": "NA",
                "licenseModel": "No License required",
                "marketoption": "OnDemand",
                "vcpu": str(vcpus),
                "servicecode": "AmazonEC2",
            }
            yield _product(attributes, dollars * factor * paid)


def _product(attributes: Mapping[str, str], dollars: float) -> dict[str, Any]:
    sku = f"{abs(hash(tuple(attributes.values()))):X}"[:16]
    rate = f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    dimension = {
        "unit": "Hrs",
        "rateCode": rate,
        "beginRange": "0",
        "endRange": "Inf",
        "appliesTo": [],
        "description": f"${dollars:.10f} per {attributes['instanceType']} Instance Hour",
        "pricePerUnit": {"USD": f"{dollars:.10f}"},
    }
    term = {
        "sku": sku,
        "offerTermCode": "JRTCKXETXF",
        "effectiveDate": "2026-01-01T00:00:00Z",
        "termAttributes": {},
        "priceDimensions": {rate: dimension},
    }
    return {
        "product": {"productFamily": "Compute Instance", "sku": sku, "attributes": attributes},
        "serviceCode": "AmazonEC2",
        "version": "20260101000000",
        "publicationDate": "2026-01-01T00:00:00Z",
        "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": term}},
    }


LOCATIONS = {
    "us-east-1": "US East (N. Virginia)",
    "us-east-2": "US East (Ohio)",
    "us-west-2": "US West (Oregon)",
    "eu-west-1": "EU (Ireland)",
    "eu-central-1": "EU (Frankfurt)",
}


def describe_spot_price_history(
    request: Request, types: Mapping[str, Any], zones: Iterable[str], now: datetime
) -> Reply:
    """Answer EC2's DescribeSpotPriceHistory: one price per type and zone, one hour old."""
    wanted_zone = request.form.get("AvailabilityZone") or _filter(request, "availability-zone")
    names = request.listed("InstanceType")
    if not names and (one := _filter(request, "instance-type")):
        names = [one]
    items = []
    for name in names or ["c7i.xlarge"]:
        for zone in zones:
            dollars = (
                price(name, types[name]["VCpuInfo"]["DefaultVCpus"]) if name in types else None
            )
            if dollars is None or (wanted_zone and zone != wanted_zone):
                continue
            items.append(
                "<item>"
                + tag("instanceType", name)
                + tag("productDescription", "Linux/UNIX")
                + tag("spotPrice", f"{dollars * SPOT_SHARE.get(zone[-1], 0.42):.6f}")
                + tag("timestamp", f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%S.000Z}")
                + tag("availabilityZone", zone)
                + "</item>"
            )
    inner = f"<spotPriceHistorySet>{''.join(items)}</spotPriceHistorySet><nextToken/>"
    return ec2_reply("DescribeSpotPriceHistory", inner)


def _filter(request: Request, name: str) -> str | None:
    for number in range(1, 20):
        if request.form.get(f"Filter.{number}.Name") == name:
            return request.form.get(f"Filter.{number}.Value.1")
    return None
