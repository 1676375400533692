"""Listing and ending rented nodes that still run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from skygrid.config import RunConfig
from skygrid.errors import SkygridError
from skygrid.nodes.interface import RentingPlace, Say
from skygrid.nodes.records import NodeList, RunHere, TeardownReport, joined
from skygrid.nodes.registry import PLACES, place_named, rentals
from skygrid.reports.run_record import RunRecord, driver_alive


def runs_here(config: RunConfig, folders: Iterable[Path], warn: Say) -> list[RunHere]:
    """Return the runs of these folders that have rented nodes; warn of unreadable ones."""
    markets = rentals(config)
    found = (_run_here(folder, markets, warn) for folder in folders)
    return [one for one in found if one is not None]


def _run_here(folder: Path, markets: Sequence[RentingPlace], warn: Say) -> RunHere | None:
    try:
        if not any(market.has_rented(folder) for market in markets):
            return None
        record = RunRecord.read(folder)
    except SkygridError as error:
        warn(f"warning: {error} Its nodes are found only in the regions that are searched.")
        return None
    return RunHere(
        folder=folder,
        run_id=record.id,
        name=record.name,
        driver_pid=record.driver.pid,
        driven=record.state == "running" and driver_alive(record.driver),
    )


def nothing_rented(config: RunConfig, folder: Path) -> str | None:
    """Return a message if the run of this folder never rented a node; None if it did.

    Parameters
    ----------
    config : RunConfig
    folder : Path
        The run's folder.
    """
    if any(market.has_rented(folder) for market in rentals(config)):
        return None
    record = RunRecord.read(folder)
    name = str(record.config.get("on", RunConfig.on))
    place = place_named(name) if name in PLACES else None
    if place is None or place.rental is not None:
        text = f"{record.name} started no nodes that cost money; nothing to end"
    else:
        text = f"{record.name} ran on {place.title}; nothing to end"
    if record.state == "running" and driver_alive(record.driver):
        text += f". Its driver, process {record.driver.pid}, still runs: end it with Ctrl-C"
    return text


def find_nodes(config: RunConfig, here: Sequence[RunHere], now: float) -> NodeList:
    """Return every node that skygrid has rented and that still runs.

    Parameters
    ----------
    config : RunConfig
    here : sequence of RunHere
        Runs whose regions are searched too.
    now : float
        Seconds since the epoch.

    Raises
    ------
    ConfigError
        If no region is chosen.
    NodeError
        If a place does not answer, or denies this user access.
    """
    found = [market.list(config, _of(market, here), now) for market in rentals(config)]
    return NodeList(
        regions=tuple(region for one in found for region in one.regions),
        nodes=tuple(node for one in found for node in one.nodes),
    )


def end_run(config: RunConfig, run: str, here: RunHere | None, say: Say) -> TeardownReport:
    """End the nodes of one run and everything made for them.

    Parameters
    ----------
    config : RunConfig
    run : str
        Name or mark of the run.
    here : RunHere or None
        The run, if its folder is on this machine.
    say : callable
        Receives progress.

    Raises
    ------
    UsageError
        If there is no such run, or more than one.
    """
    markets = rentals(config)
    if here is None:
        return markets[0].end_run(config, run, say)
    if here.driven:
        say(
            f"the driver of {here.name}, process {here.driver_pid}, still runs and may start "
            "other nodes: end it first, with Ctrl-C"
        )
    market = next(one for one in markets if one.has_rented(here.folder))
    return market.end_run(config, here, say)


def end_all(
    config: RunConfig, here: Sequence[RunHere], say: Say, *, orphans_at: float | None
) -> TeardownReport:
    """End the nodes of all runs.

    Parameters
    ----------
    config : RunConfig
    here : sequence of RunHere
    say : callable
        Receives progress.
    orphans_at : float or None
        Seconds since the epoch; as for `RentingPlace.end_all`.
    """
    return joined(
        [
            market.end_all(config, _of(market, here), say, orphans_at=orphans_at)
            for market in rentals(config)
        ]
    )


def _of(market: RentingPlace, here: Sequence[RunHere]) -> list[RunHere]:
    return [one for one in here if market.has_rented(one.folder)]
