"""A run from its search file to its folder: the phases, in order."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sklearn

from skygrid.config import RunConfig
from skygrid.engines.pull import PullEngine
from skygrid.engines.stopping import StopCondition, time_limit
from skygrid.errors import (
    BudgetReachedError,
    InterruptedRunError,
    NodeError,
    SearchFailedError,
    SkygridError,
    UsageError,
)
from skygrid.interrupts import Interrupts
from skygrid.journal.memory import MemoryJournal
from skygrid.journal.sqlite import SqliteJournal
from skygrid.listener import Listener
from skygrid.loading import load_search
from skygrid.loading.output import stdout_to_stderr
from skygrid.places import nodes_of, policies_of, size_of
from skygrid.plan.fingerprint import fingerprint
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.queue.policies import QueuePolicies
from skygrid.reports.plain import plain_parameters
from skygrid.reports.plan_view import CheckResult, RoundSize
from skygrid.reports.run_record import RunRecord, State
from skygrid.reports.shared_work import SharedWork, planned_sharing
from skygrid.reports.summary import RunFacts, Summary, summarise
from skygrid.results.common_work import sharing_of
from skygrid.results.outline import Outline, outline
from skygrid.results.sklearn_search import fit_search, refuse_callbacks
from skygrid.rounds import JournaledRounds
from skygrid.run_folder import RunFolder
from skygrid.spec import SearchSpec
from skygrid.worker import machine
from skygrid.worker.scores import from_wire


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run."""

    search: Any
    """The fitted search, of scikit-learn's own class."""

    folder: Path
    summary: Summary


def run_search(path: Path, config: RunConfig, listener: Listener) -> RunResult:
    """Run the search of a file and write its run's folder.

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
    with nodes_of(config, listener, run_id, stop=_stop(config)) as engine:
        listener.phase("loading")
        spec = load_search(path)
        refuse_callbacks(spec.search)
        folder = RunFolder.create(config, path, run_id)
        return _Run(spec, config, engine, folder, listener).complete()


def resume_run(folder: Path, config: RunConfig, listener: Listener) -> RunResult:
    """Go on with a run; what its journal holds is not fitted again.

    A run that is complete is assembled anew from its journal, which is quick.

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
    if record.search_file is None:
        raise UsageError(f"run {record.name} has no search file to load its search from")
    with nodes_of(config, listener, record.id, stop=_stop(config)) as engine:
        listener.phase("loading")
        spec = load_search(Path(record.search_file))
        opened = RunFolder.open(folder, record, config)
        return _Run(spec, config, engine, opened, listener).complete()


def check_search(path: Path, config: RunConfig, listener: Listener) -> CheckResult:
    """Load a search, fit its first candidate on its first split, and count the rest.

    With ``config.dry_run`` nothing is fitted.

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
    run_id, stop = secrets.token_hex(8), _stop(config)
    with nodes_of(config, listener, run_id, stop=stop, start=not config.dry_run) as engine:
        listener.phase("loading")
        spec = load_search(path)
        with _search_errors():
            plan = outline(spec.search, spec.X, spec.y, spec.fit_params)
        nodes, slots = size_of(config)
        found = CheckResult(
            search=type(spec.search).__name__,
            rounds=tuple(RoundSize(candidates=c, splits=s) for c, s in plan.rounds),
            on=config.on,
            nodes=nodes,
            slots=slots,
            open_ended=not plan.complete,
            shared=None if config.no_sharing else _planned(plan),
        )
        if config.dry_run or not plan.first.n_tasks:
            return found
        listener.phase("searching")
        engine.equip(spec.imported)
        return _with_sample(found, spec, plan, config, engine, listener)


def _with_sample(
    found: CheckResult,
    spec: SearchSpec,
    plan: Outline,
    config: RunConfig,
    engine: PullEngine,
    listener: Listener,
) -> CheckResult:
    first = plan.first
    rounds = JournaledRounds(
        engine,
        MemoryJournal(),
        policies_of(config),
        listener,
        sources=spec.sources,
        sharing=False,
    )
    rounds.begin(plan.work)
    one = RoundPlan(round=0, candidates=first.candidates[:1], splits=first.splits[:1])
    with Interrupts(engine.interrupt, engine.kill), _search_errors():
        _, (outcome,) = rounds.evaluate(one)
    return CheckResult(
        search=found.search,
        rounds=found.rounds,
        on=found.on,
        nodes=found.nodes,
        slots=sum(node.slots for node in engine.greetings.values()),
        open_ended=found.open_ended,
        shared=found.shared,
        seconds_per_fit=outcome.fit_seconds + outcome.score_seconds,
        sample_params=plain_parameters(first.candidates[0]),
        sample_score=_plain_scores(outcome),
        sample_error=outcome.fit_error,
        notes=tuple(f"{kind}: {text}" for kind, text, _ in rounds.warnings.counted()),
    )


def _planned(plan: Outline) -> SharedWork:
    first = plan.first
    sharing = sharing_of(plan.work, first)
    return planned_sharing(sharing, len(first.candidates), len(first.splits))


def _plain_scores(outcome: Outcome) -> Any:
    if outcome.test_scores is None:
        return None
    scores = from_wire(outcome.test_scores)
    if isinstance(scores, dict):
        return {name: _finite(score) for name, score in scores.items()}
    return _finite(scores)


def _finite(score: Any) -> float | None:
    number = float(score)
    return number if abs(number) != float("inf") and number == number else None


class _Run:
    """One session of a run: from a loaded search to a full folder."""

    def __init__(
        self,
        spec: SearchSpec,
        config: RunConfig,
        engine: PullEngine,
        folder: RunFolder,
        listener: Listener,
    ) -> None:
        self._spec = spec
        self._config = config
        self._engine = engine
        self._folder = folder
        self._listener = listener
        self._begin = time.monotonic()

    def complete(self) -> RunResult:
        """Search, refit, score, save; keep the record of the run true whatever happens."""
        try:
            with (
                Interrupts(self._engine.interrupt, self._engine.kill),
                _search_errors(),
            ):
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
            sharing=not self._config.no_sharing,
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
            fresh=rounds.fresh,
            reused=rounds.reused,
            retries=self._engine.slot_deaths,
        )
        return summarise(search, facts)


def _stop(config: RunConfig) -> StopCondition:
    return time_limit(time.monotonic() + config.max_hours * 3600)


@contextmanager
def _search_errors() -> Iterator[None]:
    """What scikit-learn raises out of ``fit`` is the search's failure, not skygrid's."""
    try:
        yield
    except (SkygridError, KeyboardInterrupt):
        raise
    except Exception as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        text = f"{type(error).__name__}: {error}" + (f"\n{notes}" if notes else "")
        raise SearchFailedError(text) from error
