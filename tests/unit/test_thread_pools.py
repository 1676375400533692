"""Fits use as many threads as they may, whatever was imported when."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from skygrid.worker import thread_pools
from skygrid.worker.thread_pools import ThreadPools

IMPORTED_LATE = """
from threadpoolctl import threadpool_info
from skygrid.worker.thread_pools import ThreadPools

pools = ThreadPools(1)
assert not pools.look().info()
import numpy, sklearn.utils._openmp_helpers
assert any(library["num_threads"] > 1 for library in threadpool_info())
pools.limit()
print(*(library["num_threads"] for library in threadpool_info()))
"""


def test_libraries_that_were_imported_since_are_found() -> None:
    """A library that came with a search is limited as those are that were there before."""
    wide = {f"{name}_NUM_THREADS": "2" for name in ("OPENBLAS", "OMP", "MKL")}
    command = [sys.executable, "-c", IMPORTED_LATE]
    ended = subprocess.run(
        command, env={**os.environ, **wide}, text=True, capture_output=True, check=False
    )
    assert not ended.returncode, ended.stderr
    counts = ended.stdout.split()
    assert set(counts) == {"1"}
    assert len(counts) >= 2, "NumPy's BLAS and scikit-learn's OpenMP"


def test_they_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot does not look again for what its agent has found."""
    pools = ThreadPools(1)
    found = pools.look()
    monkeypatch.setattr(thread_pools, "ThreadpoolController", None)
    assert pools.look() is found
