"""Prices of instances, from the price list of AWS and the history of spot prices.

A missing price never raises; the plan reports it as unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from skygrid.nodes.ec2.api import Clients, api_errors
from skygrid.nodes.ec2.records import InstanceType

Unknown = Callable[[str], None]
"""Receives a message about a missing price."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price with its source."""

    dollars_per_hour: float
    source: str


def _no_price() -> tuple[type[Exception], ...]:
    """Return the exceptions of a failed or malformed price request."""
    return (*api_errors(), LookupError, ValueError)


def on_demand_prices(
    clients: Clients, types: Iterable[InstanceType], note: Unknown
) -> dict[str, Price]:
    """Return the known on-demand prices by type."""
    found: dict[str, Price] = {}
    source = f"AWS price list, {datetime.now(UTC).date().isoformat()}"
    try:
        for one in types:
            dollars = _listed_price(clients, one.name)
            if dollars is not None:
                found[one.name] = Price(dollars_per_hour=dollars, source=source)
    except _no_price() as error:
        # Do not repeat it for other types: each call may take limits.EC2_PRICE_ANSWER seconds.
        note(f"the price list does not answer: pricing:GetProducts, {type(error).__name__}")
    return found


def _listed_price(clients: Clients, instance_type: str) -> float | None:
    filters = {
        "regionCode": clients.region,
        "instanceType": instance_type,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
    }
    answer = clients.pricing.get_products(
        ServiceCode="AmazonEC2",
        Filters=[
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in filters.items()
        ],
        MaxResults=10,
    )
    prices = [price for product in answer["PriceList"] for price in hourly_prices(product)]
    return min(prices, default=None)


def hourly_prices(product: str | Mapping[str, Any]) -> list[float]:
    """Return the positive hourly USD prices in a product of the price list, a JSON document.

    Format:
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
    """
    document = json.loads(product) if isinstance(product, str) else product
    found = [
        float(dimension["pricePerUnit"]["USD"])
        for term in document.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term.get("priceDimensions", {}).values()
        if dimension.get("unit") == "Hrs" and "USD" in dimension.get("pricePerUnit", {})
    ]
    return [price for price in found if price > 0]


def spot_prices(
    clients: Clients, types: Iterable[InstanceType], note: Unknown
) -> dict[tuple[str, str], Price]:
    """Return the known current spot prices by type and zone."""
    now = datetime.now(UTC)
    try:
        pages = clients.ec2.get_paginator("describe_spot_price_history").paginate(
            InstanceTypes=[one.name for one in types],
            ProductDescriptions=["Linux/UNIX"],
            StartTime=now,
        )
        answers = [one for page in pages for one in page["SpotPriceHistory"]]
    except _no_price() as error:
        note(f"spot prices are not known: ec2:DescribeSpotPriceHistory, {type(error).__name__}")
        return {}
    answers.sort(key=lambda one: one["Timestamp"])  # so that the newest price wins
    source = f"spot price of {now.date().isoformat()}, which may change"
    return {
        (one["InstanceType"], one["AvailabilityZone"]): Price(
            dollars_per_hour=float(one["SpotPrice"]), source=source
        )
        for one in answers
    }
