"""joblib's numbers of jobs inside calls of joblib. Workers import this module: keep it light."""

from __future__ import annotations

from typing import Any

from joblib import Parallel, delayed, effective_n_jobs

BACKENDS = ("loky", "threading", "multiprocessing")


def probe(*hows: dict[str, Any]) -> list[Any]:
    """Return the numbers of jobs here and inside nested calls of joblib.

    Parameters
    ----------
    *hows : dict
        Keyword arguments of `joblib.Parallel` for each nested call, the outermost first.
    """
    numbers: list[Any] = [effective_n_jobs(n_jobs) for n_jobs in (None, 1, 2, 3)]
    numbers += [Parallel(n_jobs=2, backend=name)._effective_n_jobs() for name in BACKENDS]
    if hows:
        parallel = Parallel(n_jobs=2, **hows[0])
        numbers.append(parallel(delayed(probe)(*hows[1:]) for _ in range(2)))
    return numbers
