"""The work of ``skygrid check``, ``run`` and ``resume``.

Nodes that cost nothing start before this process imports scikit-learn, which takes a second or
more: their agents import it meanwhile.
"""

from __future__ import annotations

import dataclasses
import gc
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.errors import SkygridError, UsageError
from skygrid.listener import Listener
from skygrid.nodes.interface import Offer
from skygrid.nodes.registry import place_of
from skygrid.plan.spec import SearchSpec
from skygrid.reports.run_record import RunRecord
from skygrid.reports.views import CheckResult
from skygrid.run.cloud_nodes import RentedNodes, make_offer
from skygrid.run.driver_log import kept, written_to
from skygrid.run.folder import LOGS, RunFolder, program_line, refuse_taken_name
from skygrid.run.report import reported
from skygrid.run.setup import hours_over, nodes_of
from skygrid.util.process import exit_code_of

if TYPE_CHECKING:
    from skygrid.run.session import RunResult


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that has not begun, with the offer of the nodes that it will rent."""

    spec: SearchSpec
    config: RunConfig
    offer: Offer
    check: CheckResult
    path: Path
    """The search file, or the folder of a run to resume."""

    record: RunRecord | None = None
    """Record of the run to resume; None: a new run."""


def check_search(path: Path, config: RunConfig, listener: Listener) -> CheckResult:
    """Load a search, fit its first candidate on its first split, and count the rest.

    Where nodes cost money, fit on this machine and look up the price; rent nothing. Elsewhere,
    fit nothing with ``config.dry_run``.

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
    """Yield an engine for one trial fit: on the nodes, or here instead of on rented ones."""
    if place_of(config).rental is not None:
        config = dataclasses.replace(on_this_machine(config), concurrency=None)
    stop, run_id = hours_over(config), secrets.token_hex(8)
    with nodes_of(config, listener, run_id, stop=stop, start=start) as engine:
        yield engine


def run_search(path: Path, config: RunConfig, listener: Listener) -> RunResult:
    """Run the search of a file on nodes that cost nothing, and write its run's folder.

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
        With its exit code. Recorded fits stay, and the run can be resumed.
    """
    refuse_taken_name(config)
    run_id = secrets.token_hex(8)
    nodes = nodes_of(config, listener, run_id, stop=hours_over(config))
    with kept() as write_log, nodes as engine:
        with _importing():
            from skygrid.run.session import Session, load

        spec = load(path, listener)
        folder = RunFolder.create(config, path, run_id, spec.started_in)
        write_log(folder.path / LOGS)
        with reported(folder.path, listener), closing(folder):
            return Session(spec, config, engine, folder, listener).complete()


def resume_run(folder: Path, config: RunConfig, listener: Listener) -> RunResult:
    """Resume a run on nodes that cost nothing; recorded fits are not fitted again.

    The results of a complete run are written anew from its journal, on this machine.

    Parameters
    ----------
    folder : Path
        The run's folder.
    config : RunConfig
        Settings for this session; the search is the recorded one.
    listener : Listener

    Returns
    -------
    result : RunResult

    Raises
    ------
    FingerprintError
        If the search file, its data or the versions have changed since the run began.
    SkygridError
        As for `run_search`.
    """
    record = RunRecord.read(folder)
    complete = is_complete(record)
    place = on_this_machine(config) if complete else config
    stop = hours_over(config)
    # Agents of the run obey the process that connects last: take the run first.
    with (
        closing(RunFolder.open(folder, record, config)) as opened,
        kept() as write_log,
        nodes_of(place, listener, record.id, stop=stop, start=not complete) as engine,
    ):
        with _importing():
            from skygrid.run.session import Session, load

        spec = load(_search_file(record), listener)
        opened.path = spec.started_in / folder  # the search file may have changed the folder
        write_log(opened.path / LOGS)
        with reported(opened.path, listener):
            return Session(spec, config, engine, opened, listener).complete()


def on_this_machine(config: RunConfig) -> RunConfig:
    """Return the same configuration with this machine as its only node."""
    return dataclasses.replace(config, on=RunConfig.on, nodes=None, min_nodes=None)


def is_complete(record: RunRecord) -> bool:
    """Return whether every fit of a run is recorded."""
    return record.state == "complete"


def may_have_left_nodes(record: RunRecord, config: RunConfig, folder: Path) -> bool:
    """Return whether a complete run has rented nodes whose end was not verified.

    Its driver was killed while it ended them, or the place did not answer.
    """
    rental = place_of(config).rental
    ended = record.bill is not None and record.bill.verified
    return rental is not None and is_complete(record) and not ended and rental.has_rented(folder)


def prepare_run(path: Path, config: RunConfig, listener: Listener) -> Prepared:
    """Load a search and look up the price of its nodes; rent nothing.

    Unless ``config.yes``, run one fit on this machine to estimate time and cost.

    Raises
    ------
    SkygridError
        As for `run_search`; the run has not begun.
    """
    refuse_taken_name(config)
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
    """Do the same for a run to resume, without a fit; reuse its nodes that still run.

    Raises
    ------
    SkygridError
        As for `resume_run`; the session has not begun.
    """
    from skygrid.run.preview import check_loaded
    from skygrid.run.session import load

    record = RunRecord.read(folder)
    spec = load(_search_file(record), listener)
    offer = make_offer(config, folder)
    check = check_loaded(spec, config, listener, None, offer.quote)
    return Prepared(spec=spec, config=config, offer=offer, check=check, path=folder, record=record)


def run_prepared(prepared: Prepared, listener: Listener) -> RunResult:
    """Rent the nodes of a run, run it, and verify that the nodes are gone.

    Parameters
    ----------
    prepared : Prepared
    listener : Listener

    Returns
    -------
    result : RunResult
        With `trouble` if nodes may be left.

    Raises
    ------
    SkygridError
        As for `run_search`; the text names nodes that may be left.
    """
    from skygrid.run.session import Session

    config, record = prepared.config, prepared.record
    started_in = prepared.spec.started_in
    if record is None:
        folder = RunFolder.create(config, prepared.path, secrets.token_hex(8), started_in)
    else:
        folder = RunFolder.open(started_in / prepared.path, record, config)
    with reported(folder.path, listener), closing(folder), written_to(folder.path / LOGS):
        rented = RentedNodes(
            config,
            prepared.offer,
            run_id=folder.record.id,
            run_name=folder.path.name,
            folder=folder.path,
            listener=listener,
            stop=hours_over(config),
            only_end=record is not None and is_complete(record),
        )
        try:
            with rented.running() as engine:
                spec = prepared.spec
                run = Session(
                    spec,
                    config,
                    engine,
                    folder,
                    listener,
                    nullcontext(),
                    rented.release,
                    rented.higher_limit,
                )
                result = run.complete()
        finally:
            charge(folder, rented, listener)
    billed = msgspec.structs.replace(result.summary, bill=rented.bill())
    return dataclasses.replace(result, summary=billed, trouble=rented.trouble or result.trouble)


def charge(folder: RunFolder, rented: RentedNodes, listener: Listener) -> None:
    """Record the cost of a run's nodes, and what may be left of them."""
    trouble = rented.trouble
    try:
        folder.charge(rented.bill(), rented.nodes())
        if trouble is not None and folder.has_document:
            folder.add_trouble(str(trouble), exit_code_of(trouble))
    except SkygridError as error:  # the results and the report of the nodes matter more
        listener.message(str(error), always=True)


@contextmanager
def _importing() -> Iterator[None]:
    """Disable garbage collection during imports: it takes a tenth of their time, finds nothing."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _search_file(record: RunRecord) -> Path:
    if record.search_file is None:
        raise UsageError(
            f"run {record.name} has no search file, because a Python program made it. "
            f"Go on with it there: {program_line(record)}"
        )
    return Path(record.search_file)
