"""The backend "skygrid" of joblib: batches run in the slots of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from skygrid.errors import UsageError
from skygrid.joblib_backend.payload import ArrayRules
from skygrid.joblib_backend.pool import CallPool
from skygrid.joblib_backend.session import CallSession, Ticket

NO_CLUSTER = (
    "the joblib backend 'skygrid' needs a cluster: use `with cluster.joblib():`, or "
    "joblib.parallel_config('skygrid', cluster=cluster)"
)

LEAST_JOBS = 2
"""Number of jobs of a cluster with one slot: joblib runs a single job in the calling process."""


class HasCalls(Protocol):
    """A cluster, see `skygrid.api.Cluster`."""

    def call_pool(self, *, trust_nodes: bool) -> CallPool:
        """Return the pool of the cluster's calls."""


class SkygridBackend(ParallelBackendBase):
    """joblib's backend for a cluster.

    It hands each `joblib.Parallel` a backend of its own, because several may be active at a time.

    Parameters
    ----------
    cluster : Cluster
    trust_nodes : bool, default=False
        As for `Cluster.joblib`.
    nesting_level : int, optional
    """

    default_n_jobs = -1
    supports_retrieve_callback = True
    supports_return_generator = True
    supports_timeout = True

    def __init__(
        self,
        cluster: HasCalls | None = None,
        *,
        trust_nodes: bool = False,
        nesting_level: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, **options)
        if cluster is None:
            raise UsageError(NO_CLUSTER)
        self._pool = cluster.call_pool(trust_nodes=trust_nodes)
        self._process = os.getpid()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of jobs: `n_jobs`, or counted back from the slots of the cluster.

        1 in a process that was forked from the cluster's: it has no connection to the nodes.
        """
        if os.getpid() != self._process:
            return 1
        return jobs(self._pool, n_jobs)

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **options: Any) -> int:
        """Hand the Parallel object a backend of its own."""
        level = self.nesting_level or 0
        if self.effective_n_jobs(n_jobs) == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=level))
        raise FallbackToBackend(ParallelBackend(self._pool, level))

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Return the sequential backend: a call stays in its slot."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        raise RuntimeError("called before `configure`")

    apply_async = submit  # name in joblib before 1.5


def jobs(pool: CallPool, n_jobs: int | None) -> int:
    """Return the number of jobs that a request stands for.

    Raises
    ------
    ValueError
        If it is 0, as in joblib's own backends.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")
    wanted = -1 if n_jobs is None else n_jobs
    return wanted if wanted > 0 else max(LEAST_JOBS, pool.slots() + 1 + wanted)


def _forget_batches(parallel: Any) -> None:
    """Drop the batches that a loop that failed has left in a Parallel object.

    joblib 1.6 would return their results with those of the next loop.
    """
    ready = getattr(parallel, "_ready_batches", None)
    while ready is not None and not ready.empty():
        ready.get_nowait()


class ParallelBackend(AutoBatchingMixin, ParallelBackendBase):
    """The backend of one `joblib.Parallel`.

    Parameters
    ----------
    pool : CallPool
    nesting_level : int
    """

    supports_retrieve_callback = True
    supports_return_generator = True
    supports_timeout = True

    def __init__(self, pool: CallPool, nesting_level: int) -> None:
        super().__init__(nesting_level=nesting_level)
        self._pool = pool
        self._limit: int | None = None
        self._rules = ArrayRules(max_nbytes=None, read_only=True, same_files=pool.shares_files)
        self._session: CallSession | None = None
        self.parallel: Any = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        return jobs(self._pool, n_jobs)

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        max_nbytes: int | None = None,
        mmap_mode: str | None = "r",
        **_: Any,
    ) -> int:
        """Take the settings of the Parallel object; return the number of jobs."""
        self.parallel = parallel
        self._rules = ArrayRules(
            max_nbytes=None if mmap_mode is None else max_nbytes,
            read_only=mmap_mode == "r",
            same_files=self._pool.shares_files,
        )
        count = self.effective_n_jobs(n_jobs)
        self._limit = count if n_jobs is not None and n_jobs > 0 else None
        return count

    def get_nested_backend(self) -> tuple[Any, int | None]:
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def start_call(self) -> None:
        """Begin a session."""
        _forget_batches(self.parallel)
        level = (self.nesting_level or 0) + 1
        self._session = CallSession(self._pool, self._rules, level, self._limit)

    def stop_call(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Ticket:
        """Send a batch to the nodes."""
        assert self._session is not None, "joblib submits between start_call and stop_call"
        return self._session.submit(func, callback)

    apply_async = submit  # name in joblib before 1.5

    def retrieve_result_callback(self, out: Ticket) -> Any:
        """Return the results of a batch that has ended, or raise its exception."""
        return out.get()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop all batches; the nodes stay ready."""
        if self._session is not None:
            self._session.abort()

    def terminate(self) -> None:
        """Forget the sizes of batches; the nodes stay."""
        self.reset_batch_stats()
