"""Nodes that still run somewhere, and their end: found by tags, whoever started them.

Runs whose folder is here are looked for in their own region as well, so that a region that is no
longer set is not forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skygrid.config import RunConfig
from skygrid.errors import ConfigError, UsageError
from skygrid.reports.nodes_view import NodesView, RentedNode
from skygrid.reports.run_record import RunRecord, driver_alive

if TYPE_CHECKING:
    from skygrid.nodes.ec2.api import Clients
    from skygrid.nodes.ec2.records import CloudNode, TeardownReport

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RunHere:
    """A run whose folder is on this machine and that once rented nodes."""

    folder: Path
    record: RunRecord
    region: str

    @property
    def driven(self) -> bool:
        """Whether its driver may still be at work."""
        return self.record.state == "running" and driver_alive(self.record.driver)


def runs_here(folders: Iterable[Path]) -> list[RunHere]:
    """Those of these folders whose runs have rented nodes."""
    from skygrid.nodes.ec2.cloud_record import read_cloud_record

    found = []
    for folder in folders:
        cloud = read_cloud_record(folder)
        if cloud is not None:
            record = RunRecord.read(folder)
            found.append(RunHere(folder=folder, record=record, region=cloud.region))
    return found


def look_around(config: RunConfig, here: Iterable[RunHere], now: float) -> NodesView:
    """Every node that skygrid has running, in every region that is known of.

    Parameters
    ----------
    config : RunConfig
    here : iterable of RunHere
    now : float
        Seconds since the epoch.

    Raises
    ------
    ConfigError
        If no region is said anywhere.
    NodeError
        If the cloud does not answer, or does not let this user look.
    """
    from skygrid.nodes.ec2.teardown.listing import find_cloud_nodes

    places = _places(config, here)
    nodes = [one for clients in places for one in find_cloud_nodes(clients)]
    return NodesView(
        regions=tuple(clients.region for clients in places),
        nodes=tuple(_as_rented(one, now) for one in nodes),
    )


def end_run(config: RunConfig, run: str, here: RunHere | None, say: Say) -> TeardownReport:
    """End the nodes of one run and all that was made for them.

    Parameters
    ----------
    config : RunConfig
    run : str
        Name of the run or its own mark, as the nodes' tags have it.
    here : RunHere or None
        The run, where its folder is on this machine.
    say : callable
        Is told what goes on.

    Raises
    ------
    UsageError
        If there is no such run, or more than one.
    """
    from skygrid.nodes.ec2.api import open_clients
    from skygrid.nodes.ec2.cloud_record import read_cloud_record
    from skygrid.nodes.ec2.fleet import remains_of
    from skygrid.nodes.ec2.teardown.listing import down, find_remains

    if here is not None:
        if here.driven:
            say(
                f"the driver of {here.record.name}, process {here.record.driver.pid}, still runs "
                "and may start other nodes: end it first, with Ctrl-C"
            )
        cloud = read_cloud_record(here.folder)
        assert cloud is not None, "that is what makes it a run with nodes"
        clients = open_clients(config.aws, region=cloud.region)
        report = down(clients, [remains_of(cloud, here.record.name)], say)
        return _without_keys(report, [here])
    clients = open_clients(config.aws)
    found = [one for one in find_remains(clients) if run in (one.run_id, one.name)]
    if len(found) > 1:
        ids = ", ".join(one.run_id for one in found)
        raise UsageError(f"{run} is the name of several runs; say which by its mark: {ids}")
    if not found:
        raise UsageError(
            f"no run {run} has anything in {clients.region}; `skygrid nodes` lists what runs. "
            "Another region is set by AWS_REGION, or region under [aws]"
        )
    return down(clients, found, say)


def end_many(
    config: RunConfig, here: list[RunHere], say: Say, *, only_orphans: bool, now: float
) -> TeardownReport:
    """End the nodes of all runs, or of those that nobody drives any more.

    Parameters
    ----------
    only_orphans : bool
        Only runs whose driver is known to be gone, or whose nodes are out of their time.
    now : float
        Seconds since the epoch.
    """
    from skygrid.nodes.ec2.teardown.listing import (
        down,
        find_cloud_nodes,
        find_remains,
        joined,
        orphans,
    )

    dead = {one.record.id for one in here if not one.driven}
    reports = []
    for clients in _places(config, here):
        remains = find_remains(clients)
        if only_orphans:
            out_of_time = {one.run_id for one in orphans(find_cloud_nodes(clients), now, dead)}
            remains = [one for one in remains if one.run_id in out_of_time | dead]
        report = down(clients, remains, say)
        reports.append(_without_keys(report, [r for r in here if r.region == clients.region]))
    return joined(reports)


def _without_keys(report: TeardownReport, runs: Iterable[RunHere]) -> TeardownReport:
    """The report, once the keys of runs that have nothing left are deleted as well."""
    from skygrid.nodes.ec2.launch.keys import KEYS_FOLDER, forget_keys

    if not report.verified:
        return report
    troubles = [forget_keys(one.folder / KEYS_FOLDER) for one in runs if not one.driven]
    notes = (*report.notes, *filter(None, troubles))
    return msgspec.structs.replace(report, notes=notes)


def _places(config: RunConfig, here: Iterable[RunHere]) -> list[Clients]:
    """One place for each region: the one that is set, and those of runs on this machine."""
    from skygrid.nodes.ec2.api import open_clients

    places: dict[str, Clients] = {}
    try:
        clients = open_clients(config.aws)
        places[clients.region] = clients
    except ConfigError:
        if not any(True for _ in here):
            raise
    for one in here:
        if one.region not in places:
            places[one.region] = open_clients(config.aws, region=one.region)
    return list(places.values())


def _as_rented(node: CloudNode, now: float) -> RentedNode:
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
