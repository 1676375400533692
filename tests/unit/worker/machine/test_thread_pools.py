"""Thread limits hold for libraries in any order of import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skygrid.worker.machine import thread_pools
from skygrid.worker.machine.thread_pools import ThreadPools

IMPORTED_LATE = """
from threadpoolctl import threadpool_info
from skygrid.worker.machine.thread_pools import ThreadPools

pools = ThreadPools(1)
assert not pools.look().info()
import numpy, sklearn.utils._openmp_helpers
assert any(library["num_threads"] > 1 for library in threadpool_info())
pools.limit()
print(*(library["num_threads"] for library in threadpool_info()))
"""


LIMITED_BEFORE = """
import numpy, sklearn.utils._openmp_helpers
from skygrid.worker.machine.thread_pools import ThreadPools

pools = ThreadPools(1)
before = pools.limited
pools.look()
print(before, pools.limited)
"""

LOADS = """
import sys
from skygrid.worker.machine.thread_pools import loads_so_far

before = loads_so_far()
import of_plain_python
after_text = loads_so_far()
import numpy
print(before == after_text, after_text < loads_so_far())
"""


def said_by(program: str, threads: int, cwd: Path | None = None) -> list[str]:
    """Return the output of a new interpreter whose libraries start with `threads` threads."""
    wide = {f"{name}_NUM_THREADS": str(threads) for name in ("OPENBLAS", "OMP", "MKL")}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(
        command, env={**os.environ, **wide}, text=True, capture_output=True, check=False, cwd=cwd
    )
    assert not ended.returncode, ended.stderr
    return ended.stdout.split()


def test_libraries_imported_later_are_limited() -> None:
    """A library that is imported after the first look is limited too."""
    counts = said_by(IMPORTED_LATE, 2)
    assert set(counts) == {"1"}
    assert len(counts) >= 2, "NumPy's BLAS and scikit-learn's OpenMP"


@pytest.mark.parametrize(("threads", "limited"), [(1, "True"), (2, "False")])
def test_libraries_with_their_limit_are_recognised(threads: int, limited: str) -> None:
    """Slots do not touch libraries that the agent's environment has limited."""
    assert said_by(LIMITED_BEFORE, threads) == ["False", limited]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every import counts")
def test_only_an_import_that_loads_a_library_counts(tmp_path: Path) -> None:
    """The import of a module of plain Python causes no second look."""
    (tmp_path / "of_plain_python.py").touch()
    assert said_by(LOADS, 1, tmp_path) == ["True", "True"]


def test_libraries_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look returns the result of the first."""
    pools = ThreadPools(1)
    found = pools.look()
    monkeypatch.setattr(thread_pools, "ThreadpoolController", None)
    assert pools.look() is found
