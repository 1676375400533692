"""One contender on one workload in one process.

``python -m tests.benchmarks.peers.contender WHO WHAT SIZE BEGAN OUT``: BEGAN is the reading of the
monotonic clock when the process was started. OUT is the file that gets two lines of JSON: a `Begun`
when the cluster is up and the search begins, a `Done` when it has ended.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks.peers.records import Begun, Done
from tests.benchmarks.peers.workloads import WORKLOADS, Size
from tests.benchmarks.workloads import warm_up

CORES = len(os.sched_getaffinity(0))

KEPT = (
    "estimator",
    "param_grid",
    "param_distributions",
    "n_iter",
    "random_state",
    "cv",
    "scoring",
)
"""Parameters that searches of dask-ml and scikit-learn have in common."""

Fit = Callable[[Any, Any, Any], Any]
"""Maps (search, X, y) to the fitted search."""


@contextmanager
def skygrid_here(*, sharing: bool = True) -> Iterator[Fit]:
    """skygrid on this machine."""
    import skygrid

    with skygrid.cluster(sharing=sharing) as cluster:
        yield cluster.fit


@contextmanager
def skygrid_on(place: str) -> Iterator[Fit]:
    """skygrid on a cluster that it starts on this machine."""
    import skygrid

    with skygrid.cluster(on=place, nodes=1, concurrency=CORES) as cluster:
        yield cluster.fit


@contextmanager
def with_joblib(backend: str) -> Iterator[Fit]:
    """scikit-learn's own loop on a backend of joblib."""
    import joblib

    with joblib.parallel_config(backend=backend, n_jobs=-1):
        yield lambda search, X, y: search.fit(X, y)


@contextmanager
def ray_cluster() -> Iterator[Fit]:
    """joblib on a Ray cluster of this machine's cores."""
    import ray
    from ray.util.joblib import register_ray

    ray.init(
        num_cpus=CORES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
        # A short path: sockets are in this folder, and their names are limited.
        _temp_dir=tempfile.mkdtemp(prefix="ray-"),
    )
    try:
        register_ray()
        with with_joblib("ray") as fit:
            yield fit
    finally:
        ray.shutdown()


@contextmanager
def dask_cluster() -> Iterator[Any]:
    """A Dask cluster with one single-threaded process per core."""
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=CORES,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=tempfile.mkdtemp(prefix="dask-"),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def dask_joblib() -> Iterator[Fit]:
    """joblib on Dask."""
    with dask_cluster(), with_joblib("dask") as fit:
        yield fit


@contextmanager
def dask_ml(cluster: AbstractContextManager[Any]) -> Iterator[Fit]:
    """dask-ml's own searches, on a cluster or on threads of this process."""
    from dask_ml import model_selection

    def fit(search: Any, X: Any, y: Any) -> Any:
        settings = search.get_params(deep=False)
        kept = {name: settings[name] for name in KEPT if name in settings}
        theirs = getattr(model_selection, type(search).__name__)
        return theirs(**kept, refit=False, iid=False, n_jobs=CORES).fit(X, y)

    with cluster:
        yield fit


CONTENDERS: dict[str, Callable[[], AbstractContextManager[Fit]]] = {
    "skygrid": skygrid_here,
    "skygrid-no-sharing": lambda: skygrid_here(sharing=False),
    "skygrid-ray": lambda: skygrid_on("ray"),
    "skygrid-dask": lambda: skygrid_on("dask"),
    "loky": lambda: with_joblib("loky"),
    "ray": ray_cluster,
    "dask": dask_joblib,
    "dask-ml": lambda: dask_ml(dask_cluster()),
    "dask-ml-threads": lambda: dask_ml(nullcontext()),
}


def main(who: str, what: str, size: Size, began: float, out: Path) -> None:
    """Make the data, start the cluster and search."""
    making = time.monotonic()
    search, X, y = WORKLOADS[what](size)
    made = time.monotonic() - making
    with CONTENDERS[who]() as fit:
        fit(*warm_up())
        before = _forget_peak()
        begin = time.monotonic()
        startup = begin - began - made
        _say(out, Begun(at=begin, made_seconds=made, startup_seconds=startup))
        fitted = fit(search, X, y)
        seconds = time.monotonic() - begin
        driver_bytes = max(0, _memory("VmHWM") - before)
        _say(out, _done(fitted, seconds, driver_bytes))


def _done(fitted: Any, seconds: float, driver_bytes: int) -> Done:
    results = fitted.cv_results_
    splits = fitted.n_splits_
    fit_seconds = (results["mean_fit_time"] + results["mean_score_time"]).sum() * splits
    scores = [results[f"split{split}_test_score"].tolist() for split in range(splits)]
    return Done(
        seconds=seconds,
        fit_seconds=float(fit_seconds),
        driver_bytes=driver_bytes,
        scores=[score for split in scores for score in split],
    )


def _say(out: Path, what: Begun | Done) -> None:
    with out.open("ab") as file:
        file.write(msgspec.json.encode(what) + b"\n")


def _forget_peak() -> int:
    """Reset the kernel's record of this process's peak; return the resident bytes (see proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


if __name__ == "__main__":
    who, what, size, began, out = sys.argv[1:]
    main(who, what, size, float(began), Path(out))  # type: ignore[arg-type]
