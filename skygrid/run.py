"""A run from its search file to its folder: the phases, in order."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import sklearn

from skygrid.checks import check_loaded, hours_over, search_errors, trial_node
from skygrid.config import RunConfig
from skygrid.engines.pull import PullEngine
from skygrid.errors import (
    BudgetReachedError,
    InterruptedRunError,
    NodeError,
    SkygridError,
    UsageError,
)
from skygrid.interrupts import Interrupts
from skygrid.journal.sqlite import SqliteJournal
from skygrid.listener import Listener
from skygrid.loading import load_search
from skygrid.loading.output import stdout_to_stderr
from skygrid.places import nodes_of, policies_of
from skygrid.plan.fingerprint import fingerprint
from skygrid.queue.policies import QueuePolicies
from skygrid.rented import Offer, RentedNodes, make_offer
from skygrid.reports.plan_view import CheckResult
from skygrid.reports.run_record import RunRecord, State
from skygrid.reports.summary import RunFacts, Summary, summarise
from skygrid.results.sklearn_search import fit_search, refuse_callbacks
from skygrid.rounds import JournaledRounds
from skygrid.run_folder import RunFolder
from skygrid.spec import SearchSpec
from skygrid.worker import machine


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run."""

    search: Any
    """The fitted search, of scikit-learn's own class."""

    folder: Path
    summary: Summary
    trouble: SkygridError | None = None
    """Nodes that may be left although the run is complete."""


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
        spec = _loaded(path, listener)
        folder = RunFolder.create(config, path, run_id)
        return _Run(spec, config, engine, folder, listener).complete()


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
    place = dataclasses.replace(config, on="local", nodes=None) if is_complete(record) else config
    with nodes_of(place, listener, record.id, stop=hours_over(config)) as engine:
        spec = _loaded(_search_file(record), listener)
        opened = RunFolder.open(folder, record, config)
        return _Run(spec, config, engine, opened, listener).complete()


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
        spec = _loaded(path, listener)
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
    record = RunRecord.read(folder)
    spec = _loaded(_search_file(record), listener)
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
    config, record = prepared.config, prepared.record
    if record is None:
        folder = RunFolder.create(config, prepared.path, secrets.token_hex(8))
    else:
        folder = RunFolder.open(prepared.path, record, config)
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
        with rented.running() as engine:
            spec = prepared.spec
            run = _Run(spec, config, engine, folder, listener, nullcontext(), rented.release)
            result = run.complete()
    finally:
        folder.charge(rented.bill(), rented.rentals())
    billed = msgspec.structs.replace(result.summary, bill=rented.bill())
    return dataclasses.replace(result, summary=billed, trouble=rented.trouble)


def _loaded(path: Path, listener: Listener) -> SearchSpec:
    listener.phase("loading")
    spec = load_search(path)
    refuse_callbacks(spec.search)
    return spec


def _search_file(record: RunRecord) -> Path:
    if record.search_file is None:
        raise UsageError(f"run {record.name} has no search file to load its search from")
    return Path(record.search_file)


class _Run:
    """One session of a run: from a loaded search to a full folder."""

    def __init__(
        self,
        spec: SearchSpec,
        config: RunConfig,
        engine: PullEngine,
        folder: RunFolder,
        listener: Listener,
        interrupts: AbstractContextManager[Any] | None = None,
        searched: Callable[[], None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._config = config
        self._engine = engine
        self._folder = folder
        self._listener = listener
        self._searched = searched
        self._interrupts = interrupts or Interrupts(engine.interrupt, engine.kill)
        self._begin = time.monotonic()

    def complete(self) -> RunResult:
        """Search, refit, score, save; keep the record of the run true whatever happens."""
        try:
            with self._interrupts, search_errors():
                return self._complete()
        except (InterruptedRunError, BudgetReachedError) as error:
            state: State = "stopped" if isinstance(error, BudgetReachedError) else "interrupted"
            told = type(error)(f"{error}; {self._folder.progress()}")
            self._folder.end(state, str(told))
            raise told from None
        except NodeError as error:
            # Not the search's failure: with nodes that can be had it goes on where it stopped.
            text = f"{error}\n{self._folder.progress()}"
            self._folder.end("interrupted", text)
            raise type(error)(text) from None
        except SkygridError as error:
            self._folder.end("failed", str(error))
            raise
        except BaseException as error:
            self._folder.end("failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            self._folder.close()

    def _complete(self) -> RunResult:
        self._engine.keep_logs(self._folder.logs)
        versions = machine.versions()
        parts = fingerprint(self._spec, versions, sklearn.get_config())
        journal = self._folder.open_journal(parts, versions)
        # Only now: agents of this run may live that work for whoever holds the journal.
        self._engine.equip(self._spec.imported)
        self._listener.phase("searching")
        rounds = JournaledRounds(
            self._engine,
            journal,
            self._policies,
            self._listener,
            self._folder.round_opened,
            self._spec.sources,
            self._searched,
        )
        spec = self._spec
        if isinstance(spec.search.refit, str):
            self._listener.ranked_by(spec.search.refit)
        with stdout_to_stderr():  # a refit and a scorer may print; stdout is for the result
            search = fit_search(spec.search, spec.X, spec.y, spec.fit_params, rounds)
            holdout = self._holdout(search)
        self._listener.phase("saving")
        summary = self._summary(search, rounds, journal, holdout)
        self._folder.save(search, summary, rounds.outcomes)
        self._listener.phase("done")
        return RunResult(search=search, folder=self._folder.path, summary=summary)

    @property
    def _policies(self) -> QueuePolicies:
        return policies_of(self._config)

    def _holdout(self, search: Any) -> Any:
        if self._spec.holdout is None or not hasattr(search, "best_estimator_"):
            return None
        self._listener.phase("scoring")
        return search.score(*self._spec.holdout)

    def _summary(
        self, search: Any, rounds: JournaledRounds, journal: SqliteJournal, holdout: Any
    ) -> Summary:
        facts = RunFacts(
            name=self._folder.path.name,
            folder=str(self._folder.path),
            wall_seconds=time.monotonic() - self._begin,
            outcomes=rounds.outcomes,
            nodes=rounds.known_nodes(),
            holdout_score=holdout,
            reused=rounds.reused,
            retries=self._engine.slot_deaths,
        )
        return summarise(search, facts)
