"""One session of a run: load, search, refit, save."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
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
    SkygridError,
)
from skygrid.journal.sqlite import SqliteJournal
from skygrid.listener import Listener
from skygrid.plan.fingerprint import fingerprint
from skygrid.plan.spec import SearchSpec
from skygrid.queue.policies import QueuePolicies
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
        """Search, refit, score and save; record the end of the session, errors included."""
        try:
            with self._interrupts, search_errors():
                return self._complete()
        except (InterruptedRunError, BudgetReachedError) as error:
            state: State = "stopped" if isinstance(error, BudgetReachedError) else "interrupted"
            text = f"{error}; {self._folder.progress()}"
            self._folder.end_early(state, text)
            raise type(error)(text) from None
        except (NodeError, FolderError) as error:
            # The search has not failed: it can be resumed with other nodes, or room on the disk.
            text = f"{error}\n{self._folder.progress()}"
            self._folder.end_early("interrupted", text)
            raise type(error)(text) from None
        except SkygridError as error:
            self._folder.end_early("failed", str(error))
            raise
        except BaseException as error:
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
        rounds = JournaledRounds(
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
        summary = self._summary(search, rounds, journal, holdout)
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
