"""joblib in a slot gives the results of its own workers without starting any."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, effective_n_jobs
from packaging.version import Version
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_union
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skygrid.worker.evaluation import joblib_backend
from skygrid.worker.evaluation.joblib_backend import (
    JoblibContext,
    context_of_fits,
    copied,
    run_in_process,
    sends_copies,
)
from skygrid.worker.sharing.pipelines import branches_of
from tests.joblib_probe import probe

pytestmark = [
    pytest.mark.sklearn_versions,
    pytest.mark.filterwarnings("ignore:.*cannot be nested"),  # a warning of joblib for nested calls
]

PLAIN = JoblibContext(
    backend="loky", nesting_level=0, explicit=False, n_jobs=None, below_threads=False, processors=5
)
"""Context of a search with `n_jobs=None` on a driver with five processors."""


@pytest.fixture(autouse=True)
def _own_joblib(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore joblib's state that `run_in_process` replaces."""
    monkeypatch.setattr(joblib.parallel, "BACKENDS", dict(joblib.parallel.BACKENDS))
    yield
    if joblib_backend._configured is not None:
        joblib_backend._configured.unregister()
        joblib_backend._configured = None
    vars(joblib_backend._here).clear()


CHAINS: list[tuple[dict[str, Any], ...]] = [
    ({}, {}, {}),
    ({}, {"prefer": "threads"}, {}),
    ({"prefer": "threads"}, {}, {}),
    ({"require": "sharedmem"}, {"backend": "threading"}),
    ({"backend": "threading"}, {"prefer": "threads"}),
]
"""Nested calls of joblib. One pair of workers serves all that start processes."""


def test_nested_calls_have_the_jobs_of_real_workers() -> None:
    """At each level of nesting, joblib reports the number of jobs of its own workers."""
    real = [probe(*chain) for chain in CHAINS]
    run_in_process(PLAIN)
    assert [probe(*chain) for chain in CHAINS] == real


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_nothing_leaves_the_main_thread(backend: str) -> None:
    """Batches run in this process and thread with every backend."""
    run_in_process(PLAIN)
    calls = (delayed(_place)() for _ in range(2000))
    assert set(Parallel(n_jobs=3, backend=backend)(calls)) == {_place()}


def _place() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def test_all_processors_are_those_of_the_driver() -> None:
    """Negative numbers of jobs count from the processors of the driver, not of the node."""
    run_in_process(PLAIN)
    assert [effective_n_jobs(n_jobs) for n_jobs in (-1, -2, -9)] == [5, 4, 1]


CONFIGURED: dict[str, Callable[[], Any]] = {
    "nothing": contextlib.nullcontext,
    "threads": lambda: joblib.parallel_backend("threading", n_jobs=2),
    "one job": lambda: joblib.parallel_backend("loky", n_jobs=1),
    "sequential": lambda: joblib.parallel_backend("sequential"),
}


@pytest.mark.parametrize("configured", CONFIGURED)
@pytest.mark.parametrize("n_jobs", [None, 1])
def test_a_configuration_around_the_search_reaches_its_fits(
    configured: str, n_jobs: int | None
) -> None:
    """Fits inherit the joblib configuration that a search with this `n_jobs` passes on."""
    with CONFIGURED[configured]():
        context = context_of_fits(n_jobs)
        (real,) = Parallel(n_jobs=n_jobs)(delayed(probe)() for _ in range(1))
    run_in_process(context)
    assert probe() == real


def test_a_parallel_search_passes_threads_on() -> None:
    """Fits of a search in processes have joblib's threads of the first level."""
    context = context_of_fits(2)
    assert (context.backend, context.nesting_level) == ("threading", 1)
    with joblib.parallel_backend("threading"):
        assert context_of_fits(2).below_threads


def test_the_next_round_has_its_own_configuration() -> None:
    """The configuration of one round does not remain for the next one in the same slot."""
    run_in_process(context_of_fits(2))
    run_in_process(PLAIN)
    assert effective_n_jobs(2) == 2
    assert Parallel(n_jobs=2)._backend.nesting_level == 0


def test_zero_jobs_raise_joblibs_error() -> None:
    """`n_jobs=0` raises joblib's own error."""
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        context_of_fits(0)


@pytest.mark.skipif(
    Version(joblib.__version__) < Version("1.4"), reason="joblib before 1.4 returns lists only"
)
@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_results_may_be_generated(return_as: str) -> None:
    """Results are returned one by one with return_as="generator"."""
    run_in_process(PLAIN)
    squares = Parallel(n_jobs=2, return_as=return_as)(delayed(pow)(i, 2) for i in range(50))
    assert sorted(squares) == [i**2 for i in range(50)]


def test_an_error_of_a_batch_ends_the_call() -> None:
    """The exception of a batch is raised, and later batches do not run."""
    run_in_process(PLAIN)
    done: list[int] = []
    calls = (delayed(_divide)(done, i) for i in (1, 2, 0, *range(3, 100)))
    with pytest.raises(ZeroDivisionError):
        Parallel(n_jobs=2, prefer="threads")(calls)
    assert done == [1, 2]


def _divide(done: list[int], number: int) -> None:
    assert 1 / number
    done.append(number)


def test_an_argument_that_cannot_be_pickled_raises_joblibs_error() -> None:
    """A lock fails a call in processes, but not one in threads."""
    run_in_process(PLAIN)
    calls = [delayed(id)(threading.Lock())]
    with pytest.raises(pickle.PicklingError, match="Could not pickle the task"):
        Parallel(n_jobs=2)(calls)
    assert Parallel(n_jobs=2, prefer="threads")(calls)


def test_copies_are_laid_out_as_in_another_process() -> None:
    """Small arrays are copied without gaps; large ones are read-only views."""
    X = np.arange(2000.0).reshape(100, 20)
    column, small, large = copied((X[:, 3], X[:2], X), 4096)
    assert column.flags.c_contiguous
    assert small.flags.writeable
    assert not np.shares_memory(small, X)
    assert not large.flags.writeable
    assert np.shares_memory(large, X)
    assert copied(np.asfortranarray(X), None).flags.f_contiguous


def test_parts_that_are_copied_are_not_kept() -> None:
    """Parts of a union or ColumnTransformer that joblib sends to processes are not kept."""
    union = make_union(StandardScaler(), MinMaxScaler(), n_jobs=2)
    columns = make_column_transformer((StandardScaler(), [0]), n_jobs=2)
    assert sends_copies(2)
    assert [list(branches_of(whole, "X")) for whole in (union, columns)] == [[], []]
    with joblib.parallel_backend("threading"):
        assert not sends_copies(2)
        assert len(list(branches_of(union, "X"))) == 2
    assert len(list(branches_of(union.set_params(n_jobs=None), "X"))) == 2
