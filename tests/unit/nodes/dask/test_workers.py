"""Choice of Dask workers, and the check of their Python."""

from __future__ import annotations

import sys

from skygrid.nodes.dask.workers import free_worker, why_unable


def test_the_largest_free_worker_is_next() -> None:
    """A node gets the worker with the most threads among those that have no node."""
    threads = {"a": 2, "b": 8, "c": 4}
    assert free_worker(threads, ()) == "b"
    assert free_worker(threads, {"b"}) == "c"
    assert free_worker(threads, threads) is None


def test_another_python_is_named() -> None:
    """A worker with another minor version of Python is refused with both versions."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert why_unable({"host": {"python": f"{here}.1.final.0"}}) is None
    assert why_unable({}) is None
    problem = why_unable({"host": {"python": "3.8.2.final.0"}})
    assert problem is not None
    assert f"have Python 3.8 and this machine has {here}" in problem
