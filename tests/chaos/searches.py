"""The searches of the schedules: 40 fits that note their start, and scikit-learn's own results."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.base import clone

from skygrid.search_file import load_search
from tests.chaos.schedules import N_FITS

SEARCH = '''
"""Fits that note their start, so that a test can tell which ran when."""
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

LEDGER = Path(__file__).with_name("ledger.txt")


class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, shift=0.0, seconds=0.03):
        self.shift = shift
        self.seconds = seconds

    def fit(self, X, y):
        with LEDGER.open("a") as ledger:
            ledger.write(f"{self.shift} {float(X.sum()).hex()} {time.time()!r}\\n")
        time.sleep(self.seconds)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return (X[:, 0] > self.shift).astype(int)


rng = np.random.RandomState(0)
X = np.round(rng.randn(60, 2), 3)
y = (X[:, 0] + 0.3 * rng.randn(60) > 0).astype(int)
estimator = Pipeline([FIRST_STEP("slow", Slow())])
param_grid = {"slow__shift": [round(0.1 * i, 1) for i in range(-5, 5)]}
dataset = (X, y)
cv = 4
'''
"""10 candidates x 4 splits of 30 ms."""

FIRST_STEP = '("scale", StandardScaler(with_mean=False)), '

Task = tuple[int, int]
"""Candidate and split."""


@dataclass(frozen=True)
class Start:
    """The start of a fit, as its line in the ledger says it."""

    key: str
    at: float
    """Seconds since the epoch."""


def search_text(*, shares_steps: bool) -> str:
    """Return the search file, with pipelines that start alike or without."""
    return SEARCH.replace("FIRST_STEP", FIRST_STEP if shares_steps else "")


def read_ledger(folder: Path) -> list[Start]:
    """Return the starts of fits that the search in a folder has noted."""
    path = folder / "ledger.txt"
    if not path.exists():
        return []
    lines = (line.rpartition(" ") for line in path.read_text().splitlines())
    return [Start(key, float(at)) for key, _, at in lines]


@functools.cache
def by_scikit_learn(shares_steps: bool) -> tuple[Any, dict[str, Task]]:
    """Return scikit-learn's own fitted search, and the task of each key in the ledger."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "search.py").write_text(search_text(shares_steps=shares_steps))
        spec = load_search(folder / "search.py")
        search: Any = clone(spec.search).set_params(estimator__slow__seconds=0.0)
        search.fit(spec.X, spec.y)
        return search, _tasks(read_ledger(folder), search.n_splits_)


def _tasks(starts: Sequence[Start], n_splits: int) -> dict[str, Task]:
    """Return the tasks in scikit-learn's order: candidate by candidate, and the refit last."""
    keys = [start.key for start in starts[:-1]]
    assert len(set(keys)) == N_FITS, "the ledger tells every fit from all others"
    return {key: divmod(number, n_splits) for number, key in enumerate(keys)}
