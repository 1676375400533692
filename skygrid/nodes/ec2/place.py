"""The place of rented nodes on EC2: what they cost, which of them run, and their end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skygrid.config import RunConfig, limits
from skygrid.errors import ConfigError, UsageError
from skygrid.nodes.interface import Provider, Say
from skygrid.nodes.records import Finding, NodeList, Quote, RunHere, TeardownReport, joined

from .api import Clients, open_clients
from .cloud_record import CloudRecord, read_cloud_record
from .fleet import open_fleet, resources_of
from .launch.keys import KEYS_FOLDER, forget_keys
from .planning.plan import mark_of, plan_cloud
from .records import CloudPlan, as_rented
from .teardown.listing import down, find_cloud_nodes, find_resources, orphans

if TYPE_CHECKING:
    from .provider import Ec2Provider


@dataclass(frozen=True, kw_only=True)
class Ec2Offer:
    """The plan of a run's nodes on EC2, and the clients that can carry it out."""

    config: RunConfig
    clients: Clients
    plan: CloudPlan

    @property
    def quote(self) -> Quote:
        """The nodes and their price."""
        plan, config = self.plan, self.config
        first = plan.pools[0]
        types = dict.fromkeys(pool.instance_type for pool in plan.pools)
        image = next(iter(plan.images.values()))
        return Quote(
            nodes=plan.nodes,
            instance_type=first.instance_type,
            other_types=tuple(name for name in types if name != first.instance_type),
            vcpus=plan.first_type.vcpus,
            memory_gib=plan.first_type.memory_gib,
            market=plan.market,
            region=plan.region,
            zones=tuple(dict.fromkeys(pool.zone for pool in plan.pools)),
            account=plan.account,
            image=f"{image.ami} {image.name}".strip(),
            dollars_per_hour=first.dollars_per_hour,
            price_source=first.price_source,
            max_cost=config.max_cost,
            max_hours=config.max_hours if config.max_hours != float("inf") else None,
            notes=plan.notes,
        )

    def accept(self, run_id: str, run_name: str, folder: Path, say: Say) -> Ec2Provider:
        """Return the provider of these nodes, with those that an earlier session has left."""
        # paramiko takes a third of a second to import.
        from .provider import Ec2Provider

        config = self.config
        mark = mark_of(config, self.clients, run_id, run_name, time.time())
        fleet = open_fleet(self.clients, self.plan, mark, folder, config.aws)
        return Ec2Provider(config, run_id, fleet, folder, mark.expires_at, say)


class Ec2Rental:
    """Offers nodes on EC2; finds and ends those that run, by their tags.

    Runs whose folder is here are also looked for in their own region, so that a region that is no
    longer configured is not forgotten.
    """

    def offer(self, config: RunConfig, folder: Path | None = None) -> Ec2Offer:
        """Plan the nodes of a configuration; the API is only read."""
        before = read_cloud_record(folder) if folder is not None else None
        clients = open_clients(config.aws, region=before.region if before else None)
        return Ec2Offer(config=config, clients=clients, plan=plan_cloud(config, clients))

    def has_rented(self, folder: Path) -> bool:
        """Return whether there is a ``cloud.json`` in the folder."""
        return read_cloud_record(folder) is not None

    def list(self, config: RunConfig, runs: Sequence[RunHere], now: float) -> NodeList:
        """Return every instance of skygrid that is not terminated, region by region."""
        regions = _regions(config, runs)
        found = [one for clients in regions for one in find_cloud_nodes(clients)]
        return NodeList(
            regions=tuple(clients.region for clients in regions),
            nodes=tuple(as_rented(one, now) for one in found),
        )

    def end_run(self, config: RunConfig, run: str | RunHere, say: Say) -> TeardownReport:
        """End the instances of one run and everything made for them."""
        if isinstance(run, RunHere):
            record = _record(run)
            clients = open_clients(config.aws, region=record.region)
            return _without_keys(down(clients, [resources_of(record, run.name)], say), [run])
        clients = open_clients(config.aws)
        found = [one for one in find_resources(clients) if run in (one.run_id, one.name)]
        if len(found) > 1:
            ids = ", ".join(one.run_id for one in found)
            raise UsageError(f"{run} is the name of several runs; say which by its mark: {ids}")
        if not found:
            raise UsageError(
                f"no run {run} has anything in {clients.region}; `skygrid nodes` lists what runs. "
                "Another region is set by AWS_REGION, or region under [aws]"
            )
        return down(clients, found, say)

    def end_all(
        self,
        config: RunConfig,
        runs: Sequence[RunHere],
        say: Say,
        *,
        orphans_at: float | None = None,
    ) -> TeardownReport:
        """End the instances of all runs, or of runs without a driver, region by region."""
        dead = {one.run_id for one in runs if not one.driven}
        reports = []
        for clients in _regions(config, runs):
            resources = find_resources(clients)
            if orphans_at is not None:
                late = orphans(find_cloud_nodes(clients), orphans_at, dead)
                ended = dead | {one.run_id for one in late}
                resources = [one for one in resources if one.run_id in ended]
            report = down(clients, resources, say)
            there = [one for one in runs if _record(one).region == clients.region]
            reports.append(_without_keys(report, there))
        return joined(reports)


class Ec2Place:
    """Instances on EC2, rented for a run and ended after it."""

    title = "AWS"
    # A broken connection is noticed within its silence; only then is it known to be mended.
    lease_seconds = limits.REMOTE_LEASE
    rental = Ec2Rental()

    def check(self, config: RunConfig) -> None:
        """Refuse private addresses without a word on who may connect to them."""
        if not config.aws.public_ip and config.aws.allow_cidr is None:
            raise ConfigError(
                "public_ip = false under [aws] needs allow_cidr beside it: the private addresses "
                'from which nodes are reached, such as those of the jump host, "10.0.0.0/16"'
            )

    def nodes(self, config: RunConfig) -> int:
        """Return the number of instances."""
        return config.nodes or 1

    def slots(self, config: RunConfig) -> int | None:
        """Return the slots of all instances, where `concurrency` is set."""
        return None if config.concurrency is None else self.nodes(config) * config.concurrency

    def min_nodes(self, config: RunConfig) -> int:
        """Return the number of all instances."""
        return self.nodes(config)

    def provider(self, config: RunConfig, run_id: str) -> Provider:
        """Refuse: these nodes have a price that must be said first."""
        raise UsageError(f"nodes on {config.on} are rented: they have a price to be said first")

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        """Look at the account."""
        from .doctor.examine import examine_account

        return examine_account(config)


PLACE = Ec2Place()


def _record(run: RunHere) -> CloudRecord:
    record = read_cloud_record(run.folder)
    assert record is not None, "that is what makes it a run with nodes"
    return record


def _without_keys(report: TeardownReport, runs: Iterable[RunHere]) -> TeardownReport:
    """Delete the keys of runs that have nothing left; return the report with what went wrong."""
    if not report.verified:
        return report
    troubles = [forget_keys(one.folder / KEYS_FOLDER) for one in runs if not one.driven]
    notes = (*report.notes, *filter(None, troubles))
    return msgspec.structs.replace(report, notes=notes)


def _regions(config: RunConfig, runs: Iterable[RunHere]) -> list[Clients]:
    """Return clients for the configured region, and for those of runs on this machine."""
    regions: dict[str, Clients] = {}
    runs = list(runs)
    try:
        clients = open_clients(config.aws)
        regions[clients.region] = clients
    except ConfigError:
        if not runs:
            raise
    for region in (_record(one).region for one in runs):
        if region not in regions:
            regions[region] = open_clients(config.aws, region=region)
    return list(regions.values())
