"""Searches of the race, each as (search, X, y)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

Workload = tuple[Any, Any, Any]

GUIDE = Path(__file__).parents[2] / "guides" / "digits" / "search.py"


class FirstColumnMean(ClassifierMixin, BaseEstimator):
    """A fit that reads one column of X, so that the cost of moving X dominates."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def fit(self, X: Any, y: Any) -> FirstColumnMean:
        self.classes_ = np.unique(y)
        self.threshold_ = float(X[:, 0].mean()) + self.shift
        return self

    def predict(self, X: Any) -> Any:
        return self.classes_[(X[:, 0] > self.threshold_).astype(int)]


def digits_guide() -> Workload:
    """Return the search of the digits guide: 21 candidates x 5."""
    from skygrid.search_file import load_search

    spec = load_search(GUIDE)
    return spec.search, spec.X, spec.y


def tiny_fits() -> Workload:
    """Return 5,000 fits of GaussianNB."""
    X, y = load_digits(return_X_y=True)
    grid = {"var_smoothing": np.logspace(-12, 0, 1000)}
    return GridSearchCV(GaussianNB(), grid, cv=5), X, y


def svc_fits() -> Workload:
    """Return 2,000 fits of SVC."""
    X, y = load_digits(return_X_y=True)
    grid = {"C": np.logspace(-2, 3, 20), "gamma": np.logspace(-5, -1, 20)}
    return GridSearchCV(SVC(), grid, cv=5), X, y


def large_data() -> Workload:
    """Return 500 MB of X with 40 trivial fits."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((65_536, 1000))
    y = (X[:, 0] > 0).astype(int)
    grid = {"shift": np.linspace(-1, 1, 8)}
    return GridSearchCV(FirstColumnMean(), grid, cv=5), X, y


def warm_up() -> Workload:
    """Return a few fits that start the workers."""
    X, y = load_digits(return_X_y=True)
    return GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-8]}, cv=2), X, y


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "digits": digits_guide,
    "tiny": tiny_fits,
    "svc": svc_fits,
    "large": large_data,
}
