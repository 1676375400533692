"""What the commands ask for: nodes first, then the search that they are for.

Nothing here imports scikit-learn before the nodes are started, which takes both a second or more:
agents import it while this process does.
"""

from __future__ import annotations

import dataclasses
import gc
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.errors import UsageError
from skygrid.listener import Listener
from skygrid.nodes.interface import Offer
from skygrid.nodes.registry import place_of
from skygrid.plan.spec import SearchSpec
from skygrid.reports.run_record import RunRecord
from skygrid.reports.views import CheckResult
from skygrid.run.cloud_nodes import RentedNodes, make_offer
from skygrid.run.driver_log import written_to
from skygrid.run.folder import LOGS, RunFolder
from skygrid.run.setup import hours_over, nodes_of

if TYPE_CHECKING:
    from skygrid.run.session import RunResult


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run for which nodes are to be rented, with its price; nothing of it has begun."""

    spec: SearchSpec
    config: RunConfig
    offer: Offer
    check: CheckResult
    path: Path
    """The search file, or the folder of a run to go on with."""

    record: RunRecord | None = None
    """The run to go on with."""


def check_search(path: Path, config: RunConfig, listener: Listener) -> CheckResult:
    """Load a search, fit its first candidate on its first split, and count the rest.

    Where nodes are to be rented, the one fit is tried on this machine, and the price is found out;
    nothing is rented. Elsewhere nothing is fitted with ``config.dry_run``.

    Parameters
    ----------
    path : Path
        The search file.
    config : RunConfig
    listener : Listener

    Returns
    -------
    check : CheckResult

    Raises
    ------
    SkygridError
        As for `run_search`.
    """
    rents = place_of(config).rental is not None
    fits = rents or not config.dry_run
    with trial_node(config, listener, start=fits) as engine:
        with _importing():
            from skygrid.run.preview import check_loaded
            from skygrid.run.session import load

        spec = load(path, listener)
        quote = make_offer(config).quote if rents else None
        return check_loaded(spec, config, listener, engine if fits else None, quote)


@contextmanager
def trial_node(config: RunConfig, listener: Listener, *, start: bool) -> Iterator[PullEngine]:
    """Where one fit is tried: the nodes themselves, or this machine instead of rented ones."""
    if place_of(config).rental is not None:
        config = dataclasses.replace(on_this_machine(config), concurrency=None)
    stop, run_id = hours_over(config), secrets.token_hex(8)
    with nodes_of(config, listener, run_id, stop=stop, start=start) as engine:
        yield engine


def run_search(path: Path, config: RunConfig, listener: Listener) -> RunResult:
    """Run the search of a file, where nothing needs to be rented, and write its run's folder.

    Parameters
    ----------
    path : Path
        The search file.
    config : RunConfig
    listener : Listener

    Returns
    -------
    result : RunResult

    Raises
    ------
    SkygridError
        With the exit code that belongs to it; what was recorded stays, and can be resumed.
    """
    run_id = secrets.token_hex(8)
    with nodes_of(config, listener, run_id, stop=hours_over(config)) as engine:
        with _importing():
            from skygrid.run.session import Session, load

        spec = load(path, listener)
        folder = RunFolder.create(config, path, run_id, spec.started_in)
        with written_to(folder.path / LOGS):
            return Session(spec, config, engine, folder, listener).complete()


def resume_run(folder: Path, config: RunConfig, listener: Listener) -> RunResult:
    """Go on with a run, where nothing needs to be rented; what is recorded is not fitted again.

    A run that is complete is assembled anew from its journal, which is quick and needs no nodes.

    Parameters
    ----------
    folder : Path
        The run's folder.
    config : RunConfig
        How to go on; the search itself is the recorded one.
    listener : Listener

    Returns
    -------
    result : RunResult

    Raises
    ------
    FingerprintError
        If the search file, its data or the versions are no longer those of the run.
    SkygridError
        As for `run_search`.
    """
    record = RunRecord.read(folder)
    complete = is_complete(record)
    place = on_this_machine(config) if complete else config
    stop = hours_over(config)
    with nodes_of(place, listener, record.id, stop=stop, start=not complete) as engine:
        with _importing():
            from skygrid.run.session import Session, load

        spec = load(_search_file(record), listener)
        opened = RunFolder.open(spec.started_in / folder, record, config)
        with written_to(opened.path / LOGS):
            return Session(spec, config, engine, opened, listener).complete()


def on_this_machine(config: RunConfig) -> RunConfig:
    """Return the same configuration with one node, which is here."""
    return dataclasses.replace(config, on=RunConfig.on, nodes=None, min_nodes=None)


def is_complete(record: RunRecord) -> bool:
    """Whether every fit of a run is recorded."""
    return record.state == "complete"


def prepare_run(path: Path, config: RunConfig, listener: Listener) -> Prepared:
    """Load a search and find out what nodes for it cost; nothing is rented.

    Unless ``config.yes``, one fit is tried on this machine, so that time and cost can be estimated.

    Raises
    ------
    SkygridError
        As for `run_search`; nothing was begun.
    """
    with trial_node(config, listener, start=not config.yes) as engine:
        with _importing():
            from skygrid.run.preview import check_loaded
            from skygrid.run.session import load

        spec = load(path, listener)
        offer = make_offer(config)
        trial = None if config.yes else engine
        check = check_loaded(spec, config, listener, trial, offer.quote)
    return Prepared(spec=spec, config=config, offer=offer, check=check, path=path)


def prepare_resume(folder: Path, config: RunConfig, listener: Listener) -> Prepared:
    """The same for a run to go on with; its nodes that still run are used again.

    Raises
    ------
    SkygridError
        As for `resume_run`; nothing was begun.
    """
    from skygrid.run.preview import check_loaded
    from skygrid.run.session import load

    record = RunRecord.read(folder)
    spec = load(_search_file(record), listener)
    offer = make_offer(config, folder)
    check = check_loaded(spec, config, listener, None, offer.quote)
    return Prepared(spec=spec, config=config, offer=offer, check=check, path=folder, record=record)


def run_prepared(prepared: Prepared, listener: Listener) -> RunResult:
    """Rent the nodes of a run, run it, and see that the nodes are gone.

    Parameters
    ----------
    prepared : Prepared
    listener : Listener

    Returns
    -------
    result : RunResult
        With `trouble` where nodes may be left.

    Raises
    ------
    SkygridError
        As for `run_search`; the text says of nodes that may be left.
    """
    from skygrid.run.session import Session

    config, record = prepared.config, prepared.record
    started_in = prepared.spec.started_in
    if record is None:
        folder = RunFolder.create(config, prepared.path, secrets.token_hex(8), started_in)
    else:
        folder = RunFolder.open(started_in / prepared.path, record, config)
    rented = RentedNodes(
        config,
        prepared.offer,
        run_id=folder.record.id,
        run_name=folder.path.name,
        folder=folder.path,
        listener=listener,
        stop=hours_over(config),
    )
    try:
        with written_to(folder.path / LOGS), rented.running() as engine:
            spec = prepared.spec
            run = Session(spec, config, engine, folder, listener, nullcontext(), rented.release)
            result = run.complete()
    finally:
        folder.charge(rented.bill(), rented.nodes())
    billed = msgspec.structs.replace(result.summary, bill=rented.bill())
    return dataclasses.replace(result, summary=billed, trouble=rented.trouble)


@contextmanager
def _importing() -> Iterator[None]:
    """Import in peace: nothing of it becomes garbage, and to look for some takes a tenth of it."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _search_file(record: RunRecord) -> Path:
    if record.search_file is None:
        raise UsageError(f"run {record.name} has no search file to load its search from")
    return Path(record.search_file)
