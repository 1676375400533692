"""Searches where skygrid is joblib's backend: their fits are leases, not calls of joblib."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import joblib
from joblib.parallel import get_active_backend

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.errors import UsageError
from skygrid.joblib_backend.backend import SkygridBackend
from skygrid.run.program import rounds_of
from skygrid.run.rounds import JournaledRounds
from skygrid.search_file.searches import objection
from skygrid.sklearn_search.driven_search import OutcomeSource, refuse_callbacks, take_over
from skygrid.worker.evaluation.contents import SearchData, SearchWork


@contextmanager
def searches_on_nodes(
    engine: PullEngine, config: RunConfig, note: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Run the fits of searches on the nodes where skygrid is joblib's active backend.

    scikit-learn fits a search that asks for fewer jobs than the cluster has slots, or that skygrid
    cannot distribute; its fits are calls then.

    Parameters
    ----------
    engine : PullEngine
    config : RunConfig
    note : callable, optional
        Called for each search that runs on the nodes.
    """
    process = os.getpid()

    def choose(search: Any) -> OutcomeSource | None:
        if os.getpid() != process or not _asks_for_nodes(search) or not is_distributable(search):
            return None

        def source(
            X: Any, y: Any, params: Mapping[str, Any]
        ) -> AbstractContextManager[JournaledRounds]:
            note()
            return _rounds(search, X, y, params)

        return source

    @contextmanager
    def _rounds(
        search: Any, X: Any, y: Any, params: Mapping[str, Any]
    ) -> Iterator[JournaledRounds]:
        # Loops that follow may need more of the program than this search.
        rounds = rounds_of(engine, config, search, X, y, params, kind=_AsByLoky, whole_program=True)
        try:
            yield rounds
        finally:
            rounds.warnings.issue()

    with take_over(choose):
        yield


def _asks_for_nodes(search: Any) -> bool:
    """Return whether joblib would run the fits of this search in all of skygrid's slots."""
    backend, default = get_active_backend()
    if not isinstance(backend, SkygridBackend):
        return False
    wanted = default if search.n_jobs is None else search.n_jobs
    wanted = backend.default_n_jobs if wanted is None else wanted
    # A smaller number limits the fits at a time, which a round does not.
    return bool(wanted == -1 or (wanted > 1 and wanted >= backend.effective_n_jobs(-1)))


def is_distributable(search: Any) -> bool:
    """Return whether skygrid can run the fits of a search."""
    try:
        refuse_callbacks(search)
    except UsageError:  # scikit-learn calls the callbacks in this process
        return False
    return objection(search) is None


class _AsByLoky(JournaledRounds):
    """Rounds whose fits see joblib as they do with its own default backend.

    The numbers of jobs inside a fit decide the last bits of some scores.
    """

    def begin(self, data: SearchData, work: SearchWork) -> None:
        with joblib.parallel_config("loky", n_jobs=None):
            super().begin(data, work)
