"""A search of a running program with a run's folder, which can be resumed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.engine.stopping import never
from skygrid.errors import SearchFailedError, UsageError
from skygrid.listener import Listener
from skygrid.nodes.registry import place_of
from skygrid.plan.spec import SearchSpec
from skygrid.reports.money import bill_text, quote_text
from skygrid.reports.run_record import RunRecord
from skygrid.run.cloud_nodes import RentedNodes, make_offer
from skygrid.run.commands import charge
from skygrid.run.driver_log import written_to
from skygrid.run.folder import LOGS, RunFolder
from skygrid.run.names import is_run
from skygrid.run.session import Session
from skygrid.run.setup import nodes_of
from skygrid.run.trust import examine
from skygrid.search_file.portable import obstacles_named
from skygrid.user_code.program_needs import code_of_program, needs_of
from skygrid.util.terminal import say


def fit_in_folder(
    search: Any,
    X: Any,
    y: Any,
    fit_params: Mapping[str, Any],
    config: RunConfig,
    listener: Listener,
    *,
    resume: bool,
) -> None:
    """Fit a search in place, and write a run's folder as ``skygrid run`` does.

    Parameters
    ----------
    search, X, y, fit_params
        As for ``search.fit``.
    config : RunConfig
    listener : Listener
    resume : bool
        True: continue the run of this name if there is one; recorded fits are not fitted again.

    Raises
    ------
    UsageError
        If there is a run of this name and `resume` is False, or someone else made it.
    FingerprintError
        If the run to resume is of another search, data or versions.
    Exception
        Exceptions that ``search.fit`` would raise. The fits until then are recorded.
    """
    config = replace(config, fail_under=None)  # a program compares the score itself
    with closing(_folder(config, resume=resume)) as folder, written_to(folder.path / LOGS):
        try:
            failed = _complete(folder, config, listener, (search, X, y, fit_params))
        except BaseException as error:
            if folder.record.state == "running":  # it ended before its session began
                folder.end_early("interrupted", str(error) or type(error).__name__)
            raise
    if failed is not None:
        raise failed


def _complete(
    folder: RunFolder, config: RunConfig, listener: Listener, asked: tuple[Any, Any, Any, Any]
) -> BaseException | None:
    with _nodes(config, folder, listener) as (engine, released, higher):
        spec = _spec(engine, *asked)
        session = Session(spec, config, engine, folder, listener, nullcontext(), released, higher)
        session.print_where_the_program_does()
        try:
            return _error_of(session)
        finally:
            session.issue_warnings()


def _error_of(session: Session) -> BaseException | None:
    """Complete a session; return the exception that ``search.fit`` would have raised."""
    try:
        session.complete()
    except SearchFailedError as error:
        original: BaseException = error
        while type(original) is SearchFailedError and original.__cause__ is not None:
            original = original.__cause__
        return original
    return None


def _spec(
    engine: PullEngine, search: Any, X: Any, y: Any, fit_params: Mapping[str, Any]
) -> SearchSpec:
    code = code_of_program(shares_modules=engine.shares_modules)
    needs: frozenset[str] = frozenset()
    if not engine.shares_modules:
        with obstacles_named(search=search, X=X, y=y, fit_params=fit_params):
            needs = frozenset(needs_of(code, search, X, y, fit_params))
    return SearchSpec(search=search, X=X, y=y, fit_params=fit_params, code=code, imported=needs)


def _folder(config: RunConfig, *, resume: bool) -> RunFolder:
    path = None if config.name is None else config.runs_dir / config.name
    if path is None or not is_run(path):
        return RunFolder.create(config, None, secrets.token_hex(8))
    if not resume:
        raise UsageError(
            f"there is a run {path.name} in {path.parent}: choose another name, or go on with it: "
            f"resume=True"
        )
    record = RunRecord.read(path)
    reason = examine(path, record)
    if reason is not None:
        raise UsageError(
            f"the folder of run {path.name} can hold code of someone else, because {reason}: "
            f"choose another name"
        )
    return RunFolder.open(path, record, config)


@contextmanager
def _nodes(
    config: RunConfig, folder: RunFolder, listener: Listener
) -> Iterator[tuple[PullEngine, Callable[[], None], Callable[[], float | None]]]:
    """Yield the engine, a function that ends rented nodes after the last fit, and one that returns
    a higher ``max_cost`` for a run that has spent its own."""
    if place_of(config).rental is None:
        with nodes_of(config, listener, folder.record.id) as engine:
            yield engine, lambda: None, lambda: None
        return
    offer = make_offer(config, folder.path)
    name = folder.path.name
    say(f"{name}: {quote_text(offer.quote)}")
    rented = RentedNodes(
        config,
        offer,
        run_id=folder.record.id,
        run_name=name,
        folder=folder.path,
        listener=listener,
        stop=never,
    )
    try:
        with rented.running() as engine:
            yield engine, rented.release, rented.higher_limit
    finally:
        charge(folder, rented, listener)
        say(f"{name}: {bill_text(rented.bill())}")
    if rented.trouble is not None:
        raise rented.trouble
