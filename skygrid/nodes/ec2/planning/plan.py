"""The plan of a run on EC2: instance types, places and prices, decided before the launch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from skygrid.config import AwsConfig, RunConfig, limits
from skygrid.errors import ConfigError
from skygrid.nodes.ec2.api import Clients, owner_of
from skygrid.nodes.ec2.records import Buying, CloudPlan, InstanceType, Pool, RunMark

from .images import named_image, ubuntu_images
from .network import Network, find_network
from .prices import Price, on_demand_prices, spot_prices
from .types import check_architectures, find_types

NO_INTERNET = (
    "nodes cannot reach the internet: Python, uv and all packages must be in the image, or on the "
    "index that it reaches"
)

PriceOf = Callable[[str, str], Price | None]
"""Returns the price of a type in a zone, or None."""


def plan_cloud(config: RunConfig, clients: Clients) -> CloudPlan:
    """Make the plan of a run. The API is only read, at no cost.

    Parameters
    ----------
    config : RunConfig
    clients : Clients

    Returns
    -------
    plan : CloudPlan

    Raises
    ------
    ConfigError
        If a configured resource does not exist or does not fit.
    NodeError
        If the account or the region has no place for the nodes, or the credentials lack rights.
    """
    settings = config.aws
    account = clients.account
    network = find_network(clients, settings, packages_near=packages_near(config))
    given = named_image(clients, settings)
    types = find_types(
        clients,
        settings,
        concurrency=config.concurrency,
        architecture=given.architecture if given else None,
        zones=[zone for zone, _ in network.subnets],
    )
    check_architectures(types, mixed=settings.mixed_architectures)
    notes: list[str] = [] if network.leads_out else [NO_INTERNET]
    pools = _pools(clients, settings, network, types, notes)
    architectures = {one.architecture for one in types}
    images = [given] if given else ubuntu_images(clients, architectures)
    if len(architectures) > 1:
        notes.append(
            "mixed_architectures is set: scores of one architecture may differ from those of the "
            "other in the last bits"
        )
    return CloudPlan(
        region=clients.region,
        account=account,
        nodes=config.nodes or 1,
        market=settings.market,
        images={image.architecture: image for image in images},
        types={one.name: one for one in types},
        pools=tuple(pools),
        vpc=network.vpc,
        notes=tuple(notes),
    )


def packages_near(config: RunConfig) -> bool:
    """Return True if nodes may have their packages without the internet.

    A package index of the user's may lie in the VPC, and so may one that a configured image names,
    which may contain all packages as well.
    """
    return config.environment.index_url is not None or config.aws.ami is not None


def mark_of(config: RunConfig, clients: Clients, run_id: str, run_name: str, now: float) -> RunMark:
    """Return the tags of a run's resources.

    Parameters
    ----------
    now : float
        Seconds since the epoch.
    """
    hours = (
        limits.EC2_LONGEST_HOURS
        if math.isinf(config.max_hours)
        else config.max_hours + limits.EC2_MARGIN_HOURS
    )
    return RunMark(
        run_id=run_id, name=run_name, owner=owner_of(clients), expires_at=now + hours * 3600
    )


def _pools(
    clients: Clients,
    settings: AwsConfig,
    network: Network,
    types: Sequence[InstanceType],
    notes: list[str],
) -> list[Pool]:
    """Return the pools in the order of trial: spot before on-demand, cheapest first."""
    found: list[Pool] = []
    if settings.market != "on-demand":
        spot = _configured_price(settings) or _spot_price_of(
            spot_prices(clients, types, notes.append)
        )
        found += order(network.subnets, types, "spot", spot)
    if settings.market != "spot":
        listed = _configured_price(settings) or _listed_price_of(
            on_demand_prices(clients, types, notes.append)
        )
        found += order(network.subnets, types, "on-demand", listed)
    if not found:
        raise ConfigError(
            f"none of {', '.join(one.name for one in types)} can be had on the {settings.market} "
            "market: name another market or other instance_types under [aws]"
        )
    return found


def _configured_price(settings: AwsConfig) -> PriceOf | None:
    if settings.price_per_hour is None:
        return None
    said = Price(dollars_per_hour=settings.price_per_hour, source="price_per_hour under [aws]")
    return lambda _, __: said


def _spot_price_of(prices: Mapping[tuple[str, str], Price]) -> PriceOf:
    return lambda instance_type, zone: prices.get((instance_type, zone))


def _listed_price_of(prices: Mapping[str, Price]) -> PriceOf:
    return lambda instance_type, _: prices.get(instance_type)


def order(
    subnets: Sequence[tuple[str, str]],
    types: Sequence[InstanceType],
    market: Buying,
    price_of: PriceOf,
) -> list[Pool]:
    """Return the pools of one market: cheapest first, unknown prices last, else in the given order.

    Parameters
    ----------
    subnets : sequence of (str, str)
        Zone and subnet; the first of a zone counts.
    types : sequence of InstanceType
    market : {"on-demand", "spot"}
    price_of : callable
        Price of a type in a zone, or None.
    """
    places = dict(reversed(subnets))
    pools = [
        _pool(one, market, zone, places[zone], price_of(one.name, zone))
        for one in types
        if market in one.markets
        for zone in sorted(places)
        if zone in one.zones
    ]
    return sorted(pools, key=_dollars)


def _pool(kind: InstanceType, market: Buying, zone: str, subnet: str, price: Price | None) -> Pool:
    return Pool(
        instance_type=kind.name,
        architecture=kind.architecture,
        market=market,
        zone=zone,
        subnet=subnet,
        dollars_per_hour=price.dollars_per_hour if price else None,
        price_source=price.source if price else "",
    )


def _dollars(pool: Pool) -> float:
    return math.inf if pool.dollars_per_hour is None else pool.dollars_per_hour
