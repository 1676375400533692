"""One contender on one workload: ``python -m tests.benchmarks.contender WHO WHAT``.

Prints one JSON line: seconds of the search without start-up and refit, the sum of its fit and score
times, and the peak memory of the process and its descendants.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.workloads import WORKLOADS, warm_up


def fit_with_loky(workload: Any) -> float:
    """Fit with scikit-learn and loky; the workers start before the clock."""
    search, X, y = workload
    warm, warm_X, warm_y = warm_up()
    warm.set_params(n_jobs=-1).fit(warm_X, warm_y)
    begin = time.perf_counter()
    search.set_params(n_jobs=-1).fit(X, y)
    return time.perf_counter() - begin


def fit_with_skygrid(workload: Any) -> float:
    """Fit with skygrid on this machine; the agent starts before the clock."""
    import skygrid

    search, X, y = workload
    with skygrid.cluster() as cluster:
        cluster.fit(*warm_up())
        begin = time.perf_counter()
        cluster.fit(search, X, y)
        return time.perf_counter() - begin


CONTENDERS = {"loky": fit_with_loky, "skygrid": fit_with_skygrid}


def main(who: str, what: str, watch_memory: bool) -> None:
    """Run a contender and print its results."""
    workload = WORKLOADS[what]()
    peak = PeakMemory()
    if watch_memory:
        with peak:
            seconds = CONTENDERS[who](workload)
    else:
        seconds = CONTENDERS[who](workload)
    search = workload[0]
    results = search.cv_results_
    fit_seconds = (results["mean_fit_time"] + results["mean_score_time"]).sum() * search.n_splits_
    print(
        json.dumps(
            {
                "seconds": seconds - search.refit_time_,
                "fit_seconds": float(fit_seconds),
                "peak_bytes": peak.peak,
                "best_score": float(search.best_score_),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--memory" in sys.argv)
