"""One session of a run: load, search, refit, save."""

from __future__ import annotations

import copy
import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sklearn

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.errors import (
    BudgetReachedError,
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
from skygrid.reports.run_record import State
from skygrid.reports.summary import RunFacts, Summary, summarise
from skygrid.run.folder import RunFolder
from skygrid.run.interrupts import Interrupts
from skygrid.run.preview import search_errors
from skygrid.run.rounds import JournaledRounds
from skygrid.run.setup import policies_of
from skygrid.search_file import load_search
from skygrid.sklearn_search.driven_search import fit_search, refuse_callbacks
from skygrid.user_code.output import stdout_to_stderr
from skygrid.worker.machine import machine

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run."""

    search: Any
    """The fitted search, of scikit-learn's own class."""

    folder: Path
    summary: Summary
    trouble: SkygridError | None = None
    """Error that names nodes that may be left although the run is complete."""


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

    def complete(self) -> RunResult:
        """Search, refit, score and save; record the end of the session, errors included."""
        try:
            with self._interrupts, search_errors():
                return self._complete()
        except (InterruptedRunError, BudgetReachedError) as error:
            state: State = "stopped" if isinstance(error, BudgetReachedError) else "interrupted"
            text = f"{error}; {self._folder.progress(self._higher_limit(error))}"
            self._folder.end_early(state, text)
            raise type(error)(text) from None
        except (NodeError, FolderError) as error:
            # The search has not failed: it can be resumed with other nodes, or room on the disk.
            text = f"{error}\n{self._folder.progress()}"
            self._folder.end_early("interrupted", text)
            raise type(error)(text) from None
        except SearchFailedError as error:
            text = self._explained(error)
            self._folder.end_early("failed", text)
            raise SearchFailedError(text) from error
        except SkygridError as error:
            self._folder.end_early("failed", str(error))
            raise
        except BaseException as error:
            LOGGER.debug("a bug, or an error of the system", exc_info=True)
            self._folder.end_early("failed", f"{type(error).__name__}: {error}")
            raise

    def _complete(self) -> RunResult:
        self._engine.keep_logs(self._folder.logs)
        versions = machine.versions()
        said = ", ".join(f"{name} {text}" for name, text in versions.items())
        LOGGER.info("session of %s on %s: %s", self._folder.path.name, self._config.on, said)
        parts = fingerprint(self._spec, versions, sklearn.get_config())
        journal = self._folder.begin(parts, versions)
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
        with stdout_to_stderr():  # a refit and a scorer may print; stdout is for the result
            search = fit_search(spec.search, spec.X, spec.y, spec.fit_params, rounds)
            holdout = self._holdout(search)
        self._listener.phase("saving")
        summary = self._summary(search, rounds, holdout)
        problem = self._folder.save(search, summary, rounds.outcomes)
        if problem is not None:
            self._listener.message(
                f"search.pkl opens only where {', '.join(spec.code.modules)} can be imported: "
                f"they cannot be saved with it ({problem})",
                always=True,
            )
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
        return f"The results of all fits are in {self._folder.path}: cv_results.csv, result.json"

    def _summary(self, search: Any, rounds: JournaledRounds, holdout: Any) -> Summary:
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
            candidates=_candidates(rounds),
        )
        return summarise(search, facts)


def _candidates(rounds: JournaledRounds) -> dict[int, Sequence[Mapping[str, Any]]]:
    return {plan.round: plan.candidates for plan in rounds.plans}
