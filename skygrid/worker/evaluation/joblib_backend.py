"""joblib in a slot: the batches that joblib would give to workers, run one after the other.

Estimators cut their work by joblib's `effective_n_jobs`, and the last bits of a sum depend on the
cut. So joblib answers in a slot what it would answer under scikit-learn's own search on the driver,
but no batch leaves the slot's main thread. All names of joblib that are not in its documentation
are used in this module only.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cloudpickle
import joblib
from joblib.parallel import (
    FallbackToBackend,
    LokyBackend,
    MultiprocessingBackend,
    SequentialBackend,
    ThreadingBackend,
    get_active_backend,
)

Batch = Callable[[], list[Any]]


@dataclass(frozen=True, kw_only=True)
class JoblibContext:
    """State of joblib in a fit of scikit-learn's own search on the driver."""

    backend: str
    """Name of the active backend: one of `_BACKENDS`, or "sequential"."""

    nesting_level: int
    explicit: bool
    """Whether the backend stands whatever a caller prefers."""

    n_jobs: int | None
    """Used where a caller names no number."""

    below_threads: bool
    """Whether the search runs its fits in threads."""

    processors: int
    """Those of the driver, which negative numbers of jobs count from."""


def context_of_fits(n_jobs: int | None) -> JoblibContext:
    """Return the state of joblib in the fits of a search that scikit-learn runs in this thread.

    Parameters
    ----------
    n_jobs : int or None
        The search's own.

    Returns
    -------
    context : JoblibContext

    Raises
    ------
    ValueError
        If `n_jobs` is 0, as scikit-learn's own search does.
    """
    backend, context_n_jobs = get_active_backend()
    explicit = type(get_active_backend(prefer="threads")[0]) is type(backend)
    below_threads = False
    wanted = context_n_jobs if n_jobs is None else n_jobs
    if backend.effective_n_jobs(1 if wanted is None else wanted) > 1:
        below_threads = getattr(backend, "uses_threads", False)
        backend, context_n_jobs = backend.get_nested_backend()
        explicit = True
    return JoblibContext(
        backend=_name_of(backend),
        nesting_level=backend.nesting_level,
        explicit=explicit,
        n_jobs=context_n_jobs,
        below_threads=below_threads,
        processors=joblib.cpu_count(),
    )


def sends_copies(n_jobs: int | None) -> bool:
    """Tell if `joblib.Parallel`, called now, works on copies of what it is given.

    Parameters
    ----------
    n_jobs : int or None
    """
    backend, default = get_active_backend()
    wanted = default if n_jobs is None else n_jobs
    if wanted in (None, 1) or getattr(backend, "uses_threads", False):
        return False
    several: bool = backend.effective_n_jobs(wanted) > 1
    return several


def _name_of(backend: Any) -> str:
    # joblib starts no processes in a daemon, and no workers at all where it is told so.
    if multiprocessing.current_process().daemon or backend.effective_n_jobs(2) == 1:
        return "sequential"
    for name, kind in _REPLACED.items():
        if type(backend) is kind:
            return name
    return "loky"  # another library's: a node has the machine to itself, as without it


_here = threading.local()
"""`below_threads`: whether the batch that runs is below one of threads, see `_Inline`."""

_processors = joblib.cpu_count()
_configured: Any = None


def run_in_process(context: JoblibContext) -> None:
    """Have joblib answer as on the driver, and run in this process and thread what it is asked to.

    Parameters
    ----------
    context : JoblibContext
    """
    global _processors, _configured
    _processors = context.processors
    _here.below_threads = context.below_threads
    for name, kind in _BACKENDS.items():
        joblib.register_parallel_backend(name, kind)
    if _configured is not None:
        _configured.unregister()
        _configured = None
    if context.explicit:
        kind = _BACKENDS.get(context.backend, SequentialBackend)
        backend = kind(nesting_level=context.nesting_level)
        _configured = joblib.parallel_backend(backend, n_jobs=context.n_jobs)
    elif context.n_jobs not in (None, 1):
        _configured = joblib.parallel_config(n_jobs=context.n_jobs)


class _Deferred:
    """A batch that runs when its results are asked for.

    joblib hands out the next batch once one has ended. If each ran when it was handed out, it would
    do so within the end of the one before it, and many would pass Python's limit of recursion.
    """

    def __init__(self, run: Callable[[], list[Any]], ended: Callable[[Any], Any] | None) -> None:
        self._run = run
        self._ended = ended

    def get(self, timeout: float | None = None) -> list[Any]:
        """Run the batch."""
        results = self._run()
        if self._ended is not None:
            self._ended(results)
        return results


class _Inline:
    """Mixin for a backend of joblib: keeps its numbers and does without its workers."""

    below_threads = True
    """Batches of this backend cannot start processes, as joblib has it."""

    supports_retrieve_callback = False
    supports_return_generator = True
    supports_timeout = True

    nesting_level: int

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Number of batches that would run at a time on the driver."""
        if n_jobs is not None and n_jobs < 0:
            n_jobs = max(_processors + 1 + n_jobs, 1)
        number: int = super().effective_n_jobs(n_jobs)  # type: ignore[misc]  # joblib's
        return number

    @staticmethod
    def in_main_thread() -> bool:
        """Tell if joblib would be called in the main thread of a process."""
        return not getattr(_here, "below_threads", False)

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        max_nbytes: int | None = None,
        mmap_mode: str | None = "r",
        **_: Any,
    ) -> int:
        """Get ready for a call of `joblib.Parallel`."""
        number = self.effective_n_jobs(n_jobs)
        # Without workers joblib offers this order in its sequential loop only.
        unordered = getattr(parallel, "return_as", "list") == "generator_unordered"
        if number == 1 or unordered:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._mapped_from = max_nbytes if mmap_mode == "r" else None
        return number

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Backend and number of jobs that are active in a batch."""
        nested, n_jobs = super().get_nested_backend()  # type: ignore[misc]  # joblib's
        if type(nested) is ThreadingBackend:
            nested = InlineThreading(nesting_level=nested.nesting_level)
        return nested, n_jobs

    def submit(self, batch: Any, callback: Callable[[Any], Any] | None = None) -> _Deferred:
        """Take a batch."""
        return _Deferred(lambda: self._run(batch), callback)

    apply_async = submit  # as joblib before 1.5 calls it

    def retrieve_result(self, out: _Deferred, timeout: float | None = None) -> list[Any]:
        """Run a batch that was submitted."""
        return out.get()

    def terminate(self) -> None:
        """Do nothing: there are no workers to end."""

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Do nothing: batches that were not asked for do not run."""

    def _run(self, batch: Any) -> list[Any]:
        with _below(threads=self.below_threads):
            return self._run_batch(batch)

    def _run_batch(self, batch: Any) -> list[Any]:
        results: list[Any] = batch()
        return results


@contextlib.contextmanager
def _below(*, threads: bool) -> Iterator[None]:
    before = getattr(_here, "below_threads", False)
    _here.below_threads = before or threads
    try:
        yield
    finally:
        _here.below_threads = before


class InlineThreading(_Inline, ThreadingBackend):
    """Threads of one process."""


class _InlineProcesses(_Inline):
    """Processes: a batch gets copies of what it works on, and its caller copies of the results."""

    def _run_batch(self, batch: Any) -> list[Any]:
        try:
            batch.items = copied(batch.items, self._mapped_from)
        except Exception as error:
            raise pickle.PicklingError(_CANNOT_SEND) from error
        results: list[Any] = copied(batch(), None)
        return results


_CANNOT_SEND = "Could not pickle the task to send it to the workers."
"""In joblib's own words."""


class InlineLoky(_InlineProcesses, LokyBackend):
    """Processes, joblib's default."""

    below_threads = False


class InlineMultiprocessing(_InlineProcesses, MultiprocessingBackend):
    """Processes of `multiprocessing`."""

    supports_return_generator = False

    @staticmethod
    def in_main_thread() -> bool:
        """Return False: joblib starts such processes on the first level only, and asks below."""
        return False


_BACKENDS: dict[str, Any] = {
    "loky": InlineLoky,
    "multiprocessing": InlineMultiprocessing,
    "threading": InlineThreading,
}
_REPLACED: dict[str, Any] = {
    "loky": LokyBackend,
    "multiprocessing": MultiprocessingBackend,
    "threading": ThreadingBackend,
}


def copied(value: Any, mapped_from: int | None) -> Any:
    """A value as it arrives in another process.

    Views become arrays of their own, which decides in what order BLAS adds.

    Parameters
    ----------
    value : object
    mapped_from : int or None
        Larger arrays, in bytes, are not copied but read-only, as joblib maps them. None: all are
        copied.
    """
    mapped: list[memoryview] = []

    def is_copied(buffer: pickle.PickleBuffer) -> bool:
        content = buffer.raw()
        if mapped_from is None or content.nbytes <= mapped_from:
            return True
        mapped.append(content.toreadonly())
        return False

    pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=is_copied)
    return pickle.loads(pickled, buffers=mapped)
