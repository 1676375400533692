"""Search files whose fits sleep, so that all other time is skygrid's."""

from __future__ import annotations

SPLITS = 4

SLEEPERS = '''
import os
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

STARTS = Path(__file__).with_name("starts")
first = True


class Sleeper(ClassifierMixin, BaseEstimator):
    """Sleeps, and says always the same. Each process leaves the time of its first fit."""

    def __init__(self, number=0, seconds={seconds}):
        self.number = number
        self.seconds = seconds

    def fit(self, X, y):
        global first
        if first:
            first = False
            # Pids of two machines may be the same.
            (STARTS / f"{{os.uname().nodename}}-{{os.getpid()}}").write_text(repr(time.time()))
        time.sleep(self.seconds)
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, X):
        return np.ones(len(X), dtype=int)

    def score(self, X, y):
        # Accuracy, without the checks that take scikit-learn half a millisecond.
        return float((self.predict(X) == y).mean())


{data}
y = np.tile([0, 1, 1], len(X) // 3)
estimator = Sleeper()
param_grid = {{"number": list(range({candidates}))}}
dataset = (X, y)
cv = {splits}
'''

TINY = "X = np.zeros((24, 1))"

LARGE = """
rng = np.random.default_rng({seed})
X = rng.standard_normal((240, 10_417))  # 20 MB
X[:, ::2] = rng.integers(0, 9, X[:, ::2].shape)
"""
"""Data of 20 MB; every second column compresses. Few rows, because splits are sent as well."""

SCORE = 2 / 3
"""Accuracy of the constant prediction on every split."""


def sleepers(fits: int, seconds: float, data: str = TINY) -> str:
    """Return the source of a search file.

    Parameters
    ----------
    fits : int
    seconds : float
        Duration of each fit.
    data : str
        Source that makes ``X``; its number of rows is a multiple of 12.
    """
    return SLEEPERS.format(seconds=seconds, data=data, candidates=-(-fits // SPLITS), splits=SPLITS)
