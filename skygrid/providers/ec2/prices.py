"""What instances cost: as the price list says, or the dated table that ships with skygrid.

A price is never a reason to fail: where none is known the plan says so.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from .session import Clients, api_errors
from .types import InstanceType

TABLE = Path(__file__).with_name("prices.toml")

Unknown = Callable[[str], None]
"""Is told, in words, why a price could not be had."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price and where it is from."""

    dollars_per_hour: float
    source: str


def _no_price() -> tuple[type[Exception], ...]:
    """What is raised where a price was asked for and something else came."""
    return (*api_errors(), LookupError, ValueError)


def on_demand_prices(
    clients: Clients, types: Iterable[InstanceType], note: Unknown
) -> dict[str, Price]:
    """On-demand prices by type, of those that are known."""
    found: dict[str, Price] = {}
    today = datetime.now(UTC).date().isoformat()
    listening = True
    for one in types:
        dollars = None
        if listening:
            try:
                dollars = _listed_price(clients, one.name)
            except _no_price() as error:
                listening = False
                note(f"the price list does not answer ({type(error).__name__}): prices of a table")
        if dollars is not None:
            found[one.name] = Price(dollars_per_hour=dollars, source=f"AWS price list, {today}")
        elif (tabled := table_price(clients.region, one.name, one.vcpus)) is not None:
            found[one.name] = tabled
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
    """The hourly USD prices above 0 of a product of the price list, a JSON document.

    Format: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
    """
    document = json.loads(product) if isinstance(product, str) else product
    found = [
        float(dimension["pricePerUnit"]["USD"])
        for term in document.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term.get("priceDimensions", {}).values()
        if dimension.get("unit") == "Hrs" and "USD" in dimension.get("pricePerUnit", {})
    ]
    return [price for price in found if price > 0]


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def table_price(region: str, instance_type: str, vcpus: int) -> Price | None:
    """The price of the table that ships, None where it has none.

    The on-demand price of a family is the same for every vCPU, whatever the size.
    """
    table = _table()
    family, _, size = instance_type.partition(".")
    per_vcpu = table["per_vcpu"].get(region, {}).get(family)
    if per_vcpu is None or size.startswith(("metal", "medium")):
        return None
    as_of = table["as_of"].get(region, table["as_of"]["elsewhere"])
    source = f"table of skygrid, {as_of}"
    return Price(dollars_per_hour=round(per_vcpu * vcpus, 6), source=source)


def spot_prices(
    clients: Clients, types: Iterable[InstanceType], note: Unknown
) -> dict[tuple[str, str], Price]:
    """Spot prices of this moment by type and zone, of those that are known."""
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
    answers.sort(key=lambda one: one["Timestamp"])  # of several the newest stays
    source = f"spot price of {now.date().isoformat()}, which may change"
    return {
        (one["InstanceType"], one["AvailabilityZone"]): Price(
            dollars_per_hour=float(one["SpotPrice"]), source=source
        )
        for one in answers
    }
