"""One session of a run: load, search, refit, save."""

from __future__ import annotations

import copy
import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import sklearn

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.errors import (
    BelowScoreError,
    BudgetReachedError,
    FingerprintError,
    FolderError,
    InterruptedRunError,
    NodeError,
    SearchFailedError,
    SkygridError,
)
from skygrid.listener import Listener
from skygrid.plan.fingerprint import fingerprint
from skygrid.plan.spec import SearchSpec
from skygrid.queue.policies import QueuePolicies
from skygrid.reports.failures import count_failures, failure_line, failures_text
from skygrid.reports.partial_results import partial_results, partial_summary
from skygrid.reports.run_record import State
from skygrid.reports.summary import RunFacts, Summary, summarise
from skygrid.reports.verdict import shortfall
from skygrid.run.folder import RunFolder
from skygrid.run.interrupts import Interrupts
from skygrid.run.preview import search_errors
from skygrid.run.rounds import JournaledRounds
from skygrid.run.setup import policies_of
from skygrid.search_file import load_search
from skygrid.sklearn_search.driven_search import fit_search, refuse_callbacks
from skygrid.sklearn_search.search_facts import search_facts
from skygrid.user_code.output import stdout_to_stderr
from skygrid.util.process import Interruption, exit_code_of
from skygrid.worker.machine import machine

LOGGER = logging.getLogger(__name__)

E = TypeVar("E", bound=SkygridError)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run."""

    search: Any
    """The fitted search, of scikit-learn's own class."""

    folder: Path
    summary: Summary
    trouble: SkygridError | None = None
    """Error that the command ends with although the run is complete: it names nodes that may be
    left, or the score that was not reached."""


def load(path: Path, listener: Listener) -> SearchSpec:
    """Load the search of a file; refuse one that cannot be run."""
    listener.phase("loading")
    spec = load_search(path)
    refuse_callbacks(spec.search)
    for note in spec.notes:
        listener.message(f"note: {note}", always=True)
    return spec


class Session:
    """Runs a loaded search and writes the run's folder."""

    def __init__(
        self,
        spec: SearchSpec,
        config: RunConfig,
        engine: PullEngine,
        folder: RunFolder,
        listener: Listener,
        interrupts: AbstractContextManager[Any] | None = None,
        searched: Callable[[], None] = lambda: None,
        higher_cost: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._config = config
        self._engine = engine
        self._folder = folder
        self._listener = listener
        self._searched = searched
        self._higher_cost = higher_cost
        self._interrupts = interrupts or Interrupts(engine.interrupt, engine.kill)
        self._begin = time.monotonic()
        self._rounds: JournaledRounds | None = None
        # A refit and a scorer may print; the command line's stdout is for the result.
        self._prints: Callable[[], AbstractContextManager[Any]] = stdout_to_stderr
        self._saved = False
        """True once this session has written results."""

    def complete(self) -> RunResult:
        """Search, refit, score and save; record the end of the session, errors included."""
        try:
            with self._interrupts, search_errors():
                return self._complete()
        except (InterruptedRunError, BudgetReachedError) as error:
            state: State = "stopped" if isinstance(error, BudgetReachedError) else "interrupted"
            text = f"{error}; {self._folder.progress(self._higher_limit(error))}"
            raise self._ended(state, type(error)(text)) from None
        except (NodeError, FolderError) as error:
            # The search has not failed: it can be resumed with other nodes, or room on the disk.
            text = f"{error}\n{self._folder.progress()}"
            raise self._ended("interrupted", type(error)(text)) from None
        except FingerprintError:  # another search: the run is what it was before
            raise
        except SearchFailedError as error:
            raise self._ended("failed", SearchFailedError(self._explained(error))) from error
        except SkygridError as error:
            raise self._ended("failed", error)  # noqa: B904 (the same error)
        except BaseException as error:
            LOGGER.debug("a bug, a signal, or an error of the system", exc_info=True)
            signalled = isinstance(error, KeyboardInterrupt | Interruption)
            state = "interrupted" if signalled else "failed"
            self._end_early(state, f"{type(error).__name__}: {error}", exit_code_of(error))
            raise

    def print_where_the_program_does(self) -> None:
        """Leave stdout as it is for the refit and scorers: it is a program's own."""
        self._prints = nullcontext

    def issue_warnings(self) -> None:
        """Issue the warnings of fits, as ``search.fit`` would have done."""
        if self._rounds is not None:
            self._rounds.warnings.issue()

    def _ended(self, state: State, error: E) -> E:
        """Record the end of the session by an error, and return the error."""
        if self._end_early(state, str(error), exit_code_of(error)):
            error.folder = self._folder.path
        return error

    def _end_early(self, state: State, text: str, exit_code: int) -> bool:
        """Record an early end in ``result.json`` and ``run.json``; return whether the first has
        it."""
        try:
            self._save_partly(state, text, exit_code)
            saved = True
        except SkygridError as problem:  # the error that ends the session matters more
            LOGGER.warning("%s", problem)
            saved = False
        self._folder.end_early(state, text)
        return saved

    def _save_partly(self, state: State, text: str, exit_code: int) -> None:
        rounds = self._rounds
        outcomes = () if rounds is None else rounds.outcomes
        if self._folder.has_document and (self._saved or not outcomes):
            self._folder.amend(state, text, exit_code)
            return
        plans = () if rounds is None else rounds.plans
        splits = max((len(plan.splits) for plan in plans), default=0)
        refit = getattr(self._spec.search, "refit", None)
        metric = refit if isinstance(refit, str) else None
        facts = self._facts(rounds, None)
        summary = partial_summary(facts, type(self._spec.search).__name__, splits, metric)
        table = partial_results(facts.candidates, outcomes, splits)
        self._folder.save_results(
            table, summary, outcomes, state=state, error=text, exit_code=exit_code
        )

    def _complete(self) -> RunResult:
        self._engine.keep_logs(self._folder.logs)
        versions = machine.versions()
        said = ", ".join(f"{name} {text}" for name, text in versions.items())
        LOGGER.info("session of %s on %s: %s", self._folder.path.name, self._config.on, said)
        parts = fingerprint(self._spec, versions, sklearn.get_config())
        journal = self._folder.begin(parts, versions, search_facts(self._spec))
        self._engine.set_modules(self._spec.imported)
        self._listener.phase("searching")
        rounds = self._rounds = JournaledRounds(
            self._engine,
            journal,
            self._policies,
            self._listener,
            self._folder.round_opened,
            self._spec.code,
            self._searched,
            sharing=not self._config.no_sharing,
        )
        spec = self._spec
        refit = getattr(spec.search, "refit", None)  # some searches set it in fit
        if isinstance(refit, str):
            self._listener.ranked_by(refit)
        with self._prints():  # a refit and a scorer may print; stdout is for the result
            search = fit_search(spec.search, spec.X, spec.y, spec.fit_params, rounds)
            holdout = self._holdout(search)
        self._listener.phase("saving")
        summary = self._summary(search, rounds, holdout)
        reason = shortfall(summary, self._config.fail_under)
        below = None if reason is None else BelowScoreError(reason)
        problem = self._folder.save(search, summary, rounds.outcomes, below)
        if problem is not None:
            self._listener.message(
                f"search.pkl opens only where {', '.join(spec.code.modules)} can be imported: "
                f"they cannot be saved with it ({problem})",
                always=True,
            )
        self._listener.phase("done")
        return RunResult(search=search, folder=self._folder.path, summary=summary, trouble=below)

    @property
    def _policies(self) -> QueuePolicies:
        return policies_of(self._config)

    def _holdout(self, search: Any) -> Any:
        if self._spec.holdout is None or not hasattr(search, "best_estimator_"):
            return None
        self._listener.phase("scoring")
        return search.score(*self._spec.holdout)

    def _higher_limit(self, error: SkygridError) -> str:
        """Return the option without which a resumed run would stop again at once."""
        # Costs add up over all sessions; hours begin anew.
        limit = self._higher_cost() if "--max-cost" in str(error) else None
        return "" if limit is None else f" --max-cost {limit:.10g}"

    def _explained(self, error: SearchFailedError) -> str:
        """Return the reason why the search failed; save its results if there are any."""
        rounds = self._rounds
        if rounds is None or not rounds.outcomes:
            return str(error)
        failures = count_failures(rounds.outcomes, _candidates(rounds))
        n_fits = len(rounds.outcomes)
        if rounds.results is not None:
            saved = self._saved_without_refit(rounds, rounds.results)
            some = [f"failed fits: {failure_line(one)}" for one in failures[:3]]
            return "\n".join([f"the refit failed: {error}", *some, saved])
        all_failed = all(outcome.fit_error is not None for outcome in rounds.outcomes)
        if not all_failed:
            return str(error)
        text = failures_text(failures, n_fits, tracebacks=bool(self._config.verbose))
        hint = f"The traceback: skygrid show {shlex.quote(self._folder.given)} -v"
        return text if self._config.verbose else f"{text}\n{hint}"

    def _saved_without_refit(self, rounds: JournaledRounds, results: Mapping[str, Any]) -> str:
        search = copy.copy(self._spec.search)
        search.cv_results_, search.n_splits_ = results, len(rounds.plans[-1].splits)
        vars(search).pop("best_estimator_", None)
        try:
            self._folder.save_results(results, self._summary(search, rounds, None), rounds.outcomes)
        except FolderError as problem:
            return str(problem)
        self._saved = True
        return f"The results of all fits are in {self._folder.path}: cv_results.csv, result.json"

    def _summary(self, search: Any, rounds: JournaledRounds, holdout: Any) -> Summary:
        return summarise(search, self._facts(rounds, holdout))

    def _facts(self, rounds: JournaledRounds | None, holdout: Any) -> RunFacts:
        facts = RunFacts(
            name=self._folder.path.name,
            folder=str(self._folder.path),
            wall_seconds=time.monotonic() - self._begin,
            outcomes=(),
            holdout_score=holdout,
            retries=self._engine.slot_deaths,
        )
        if rounds is None:
            return facts
        return replace(
            facts,
            outcomes=rounds.outcomes,
            nodes=rounds.known_nodes(),
            fresh=rounds.fresh,
            reused=rounds.reused,
            candidates=_candidates(rounds),
        )


def _candidates(rounds: JournaledRounds) -> dict[int, Sequence[Mapping[str, Any]]]:
    return {plan.round: plan.candidates for plan in rounds.plans}
