"""joblib in a slot: batches run one after the other instead of in workers.

Estimators divide their work by joblib's `effective_n_jobs`, and the last bits of a sum depend on
that division. In a slot joblib therefore reports the numbers of scikit-learn's own search on the
driver, but every batch runs in the slot's main thread. All undocumented names of joblib are used in
this module only.
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


@dataclass(frozen=True, kw_only=True)
class JoblibContext:
    """State of joblib inside a fit of scikit-learn's own search on the driver."""

    backend: str
    """Name of the active backend: a key of `_BACKENDS`, or "sequential"."""

    nesting_level: int
    explicit: bool
    """True if the backend overrides a caller's `prefer`."""

    n_jobs: int | None
    """Default number of jobs."""

    below_threads: bool
    """True if the search runs its fits in threads."""

    processors: int
    """Processors of the driver; negative numbers of jobs count back from it."""


def context_of_fits(n_jobs: int | None) -> JoblibContext:
    """Return the state of joblib inside the fits of a search that runs in this thread.

    Parameters
    ----------
    n_jobs : int or None
        Parameter of the search.

    Raises
    ------
    ValueError
        If `n_jobs` is 0, as in scikit-learn's own search.
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
    """Return True if `joblib.Parallel`, called now, works on copies of its arguments."""
    backend, default = get_active_backend()
    wanted = default if n_jobs is None else n_jobs
    if wanted in (None, 1) or getattr(backend, "uses_threads", False):
        return False
    several: bool = backend.effective_n_jobs(wanted) > 1
    return several


def _name_of(backend: Any) -> str:
    # joblib is sequential in daemon processes, and if the user has set it so.
    if multiprocessing.current_process().daemon or backend.effective_n_jobs(2) == 1:
        return "sequential"
    for name, kind in _REPLACED.items():
        if type(backend) is kind:
            return name
    return "loky"  # another library's backend: nodes use joblib's default


_here = threading.local()
"""`below_threads`: True if the current batch is nested in a batch of threads, see `_Inline`."""

_processors = joblib.cpu_count()
_configured: Any = None


def run_in_process(context: JoblibContext) -> None:
    """Make joblib report the driver's numbers and run all batches in this process and thread."""
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


@contextlib.contextmanager
def nested(level: int) -> Iterator[None]:
    """Run calls of joblib in the block one after another, in this thread.

    Parameters
    ----------
    level : int
        Nesting level of the block.
    """
    with joblib.parallel_config(SequentialBackend(nesting_level=level), n_jobs=None):
        yield


def context_of_calls() -> JoblibContext:
    """Return the state of joblib in a slot that runs calls."""
    return JoblibContext(
        backend="sequential",
        nesting_level=1,
        explicit=True,
        n_jobs=None,
        below_threads=False,
        processors=joblib.cpu_count(),
    )


class _Deferred:
    """A batch that runs when its results are requested.

    joblib submits the next batch from the callback of the last one. Batches that ran on submission
    would nest, and many batches would exceed Python's recursion limit.
    """

    def __init__(self, run: Callable[[], list[Any]], ended: Callable[[Any], Any] | None) -> None:
        self._run = run
        self._ended = ended

    def get(self, timeout: float | None = None) -> list[Any]:
        results = self._run()
        if self._ended is not None:
            self._ended(results)
        return results


class _Inline:
    """Mixin for a joblib backend: reports the backend's numbers and starts no workers."""

    below_threads = True
    """True if joblib starts no processes inside batches of this backend."""

    supports_retrieve_callback = False
    supports_return_generator = True
    supports_timeout = True

    nesting_level: int

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of batches that would run in parallel on the driver."""
        if n_jobs is not None and n_jobs < 0:
            n_jobs = max(_processors + 1 + n_jobs, 1)
        number: int = super().effective_n_jobs(n_jobs)  # type: ignore[misc]  # joblib's
        return number

    @staticmethod
    def in_main_thread() -> bool:
        """Return True if joblib would run in the main thread of a process on the driver."""
        return not getattr(_here, "below_threads", False)

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        max_nbytes: int | None = None,
        mmap_mode: str | None = "r",
        **_: Any,
    ) -> int:
        number = self.effective_n_jobs(n_jobs)
        # Without workers, joblib implements this order only in its sequential loop.
        unordered = getattr(parallel, "return_as", "list") == "generator_unordered"
        if number == 1 or unordered:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._mapped_from = max_nbytes if mmap_mode == "r" else None
        return number

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Return the backend and number of jobs that are active inside a batch."""
        nested, n_jobs = super().get_nested_backend()  # type: ignore[misc]  # joblib's
        if type(nested) is ThreadingBackend:
            nested = InlineThreading(nesting_level=nested.nesting_level)
        return nested, n_jobs

    def submit(self, batch: Any, callback: Callable[[Any], Any] | None = None) -> _Deferred:
        """Return a batch that runs when its results are requested."""
        return _Deferred(lambda: self._run(batch), callback)

    apply_async = submit  # name in joblib before 1.5

    def retrieve_result(self, out: _Deferred, timeout: float | None = None) -> list[Any]:
        return out.get()

    def terminate(self) -> None:
        """Do nothing: no workers exist."""

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Do nothing: batches run only on request."""

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
    """Backend that stands for threads of one process."""


class _InlineProcesses(_Inline):
    """Backend that stands for processes: a batch works on copies and returns copies."""

    def _run_batch(self, batch: Any) -> list[Any]:
        try:
            batch.items = copied(batch.items, self._mapped_from)
        except Exception as error:
            raise pickle.PicklingError(_CANNOT_SEND) from error
        results: list[Any] = copied(batch(), None)
        return results


_CANNOT_SEND = "Could not pickle the task to send it to the workers."
"""Text of joblib's own error."""


class InlineLoky(_InlineProcesses, LokyBackend):
    """Backend that stands for loky's processes, joblib's default."""

    below_threads = False


class InlineMultiprocessing(_InlineProcesses, MultiprocessingBackend):
    """Backend that stands for processes of `multiprocessing`."""

    supports_return_generator = False

    @staticmethod
    def in_main_thread() -> bool:
        """Return False: joblib starts such processes on the first level only and calls this inside
        it."""
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
    """Return a copy of a value as another process would receive it.

    Views become contiguous arrays, which decides the order of BLAS sums.

    Parameters
    ----------
    value : object
    mapped_from : int or None
        Arrays of more bytes become read-only views instead of copies, as joblib maps them. None:
        all are copied.
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
