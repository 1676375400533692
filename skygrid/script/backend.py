"""joblib's default backend in a script, and searches in skygrid's own way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
from joblib.parallel import LokyBackend

from skygrid.config import RunConfig
from skygrid.engine.engine import PullEngine
from skygrid.joblib_backend.backend import SkygridBackend
from skygrid.joblib_backend.pool import CallPool
from skygrid.joblib_backend.searches import searches_on_nodes
from skygrid.run.setup import call_policies_of


class ScriptBackend(SkygridBackend):
    """The backend of a script: only loops that ask for several jobs leave the process."""

    default_n_jobs = 1

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        return 1 if n_jobs is None else super().effective_n_jobs(n_jobs)


class ScriptNodes:
    """The nodes of a script.

    Parameters
    ----------
    engine : PullEngine
    config : RunConfig
    """

    def __init__(self, engine: PullEngine, config: RunConfig) -> None:
        self._pool = CallPool(engine, call_policies_of(config))
        self._engine, self._config = engine, config
        self.searches = 0
        """Number of searches whose fits ran on the nodes."""

    @property
    def used(self) -> bool:
        """True if a loop or a search has used the nodes."""
        return self._pool.used or self.searches > 0

    def call_pool(self, *, trust_nodes: bool) -> CallPool:
        """Return the pool of the script's calls. The caller has asked for trust."""
        return self._pool

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """Make the nodes joblib's default backend, in all threads of the block.

        joblib lets a default that is set for all threads run loops that prefer threads in threads;
        in the calling thread these loops run on the nodes too.
        """

        def note() -> None:
            self.searches += 1

        joblib.register_parallel_backend("skygrid-script", self._backend, make_default=True)
        try:
            with (
                joblib.parallel_config(self._backend(), n_jobs=1),
                searches_on_nodes(self._engine, self._config, note),
            ):
                yield
        finally:
            self._pool.release()
            joblib.register_parallel_backend("loky", LokyBackend, make_default=True)

    def _backend(self, **options: Any) -> ScriptBackend:
        return ScriptBackend(self, trust_nodes=True, **options)
