"""Searches of the race, each as (search, X, y) in one of three sizes.

There is no refit: it is one fit in the driver, the same for all contenders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.naive_bayes import ComplementNB, GaussianNB, MultinomialNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from tests.benchmarks.peers.nothing import Nothing
from tests.benchmarks.peers.texts import PACKAGES, library_texts
from tests.benchmarks.workloads import FirstColumnMean, Workload, digits_guide

Size = Literal["small", "default", "full"]
"""small: a few fits, to test the set-up; full: the Ray blog's grid with all tolerances."""


def digits(size: Size) -> Workload:
    """Return the search of the digits guide: 21 candidates x 5."""
    search, X, y = digits_guide()
    grid = search.param_grid
    if size == "small":
        grid = [{name: values[:1] for name, values in part.items()} for part in grid]
    return search.set_params(param_grid=grid, refit=False), X, y


def svc_grid(size: Size) -> Workload:
    """Return the grid of Ray's article on scikit-learn: 20,000 fits; 2,000 with one tolerance."""
    X, y = load_digits(return_X_y=True)
    grid: dict[str, Any] = {
        "C": np.logspace(-6, 6, 10),
        "gamma": np.logspace(-8, 8, 5),
        "tol": np.logspace(-4, -1, 10),
        "kernel": ["linear", "poly", "rbf", "sigmoid"],
        "class_weight": [None, "balanced"],
    }
    if size != "full":
        grid["tol"] = [1e-3]
    if size == "small":
        grid |= {"C": [1.0], "gamma": [1e-8, 1e-4], "class_weight": [None]}
    return GridSearchCV(SVC(), grid, cv=5, refit=False), X, y


def svc_random(size: Size) -> Workload:
    """Return the random search of the same article: 300 candidates x 5."""
    X, y = load_digits(return_X_y=True)
    space = {
        "C": np.logspace(-6, 6, 30),
        "gamma": np.logspace(-8, 8, 30),
        "tol": np.logspace(-4, -1, 30),
        "class_weight": [None, "balanced"],
    }
    n_iter = 3 if size == "small" else 300
    search = RandomizedSearchCV(
        SVC(kernel="rbf"), space, n_iter=n_iter, cv=5, random_state=0, refit=False
    )
    return search, X, y


def tiny(candidates: int) -> Callable[[Size], Workload]:
    """Return a workload of fits of GaussianNB, a millisecond each: candidates x 5."""

    def workload(size: Size) -> Workload:
        X, y = load_digits(return_X_y=True)
        count = 10 if size == "small" else candidates
        grid = {"var_smoothing": np.logspace(-12, 0, count)}
        return GridSearchCV(GaussianNB(), grid, cv=5, refit=False), X, y

    return workload


def text(size: Size) -> Workload:
    """Return TF-IDF and linear classifiers: 2 vectorisers x 12 classifiers x 5."""
    small = size == "small"
    texts, modules = library_texts(PACKAGES[:2] if small else PACKAGES)
    classifiers: list[Any] = [
        *(MultinomialNB(alpha=alpha) for alpha in (0.003, 0.03, 0.3, 1.0)),
        *(ComplementNB(alpha=alpha) for alpha in (0.03, 0.3, 1.0)),
        *(LinearSVC(C=C, random_state=0) for C in (0.3, 3.0)),
        *(SGDClassifier(alpha=alpha, random_state=0) for alpha in (1e-5, 1e-4, 1e-3)),
    ]
    vectorisers = [
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2),
    ]
    pipeline = Pipeline([("tfidf", vectorisers[0]), ("classifier", classifiers[0])])
    grid = {"tfidf": vectorisers, "classifier": classifiers[::6] if small else classifiers}
    return GridSearchCV(pipeline, grid, cv=5, refit=False), texts, modules


def boosting(size: Size) -> Workload:
    """Return a ColumnTransformer and gradient boosting of three lengths: 12 candidates x 5."""
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = 300 if size == "small" else 5_000
    numbers = rng.standard_normal((rows, 15))
    words = rng.integers(0, 8, (rows, 4))
    table = pd.DataFrame(numbers, columns=[f"number{i}" for i in range(15)])
    for i in range(4):
        table[f"word{i}"] = np.array(list("abcdefgh"), dtype=object)[words[:, i]]
    y = (numbers[:, 0] * numbers[:, 1] + (words[:, 0] > 3) + rng.standard_normal(rows) > 0.5) * 1
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), [f"number{i}" for i in range(15)]),
            ("words", OneHotEncoder(sparse_output=False), [f"word{i}" for i in range(4)]),
        ]
    )
    boosted = HistGradientBoostingClassifier(random_state=0, early_stopping=False)
    grid = {
        "boosted__max_iter": [2, 4, 8] if size == "small" else [50, 100, 200],
        "boosted__learning_rate": [0.1] if size == "small" else [0.05, 0.1],
        "boosted__max_leaf_nodes": [15] if size == "small" else [15, 31],
    }
    pipeline = Pipeline([("columns", columns), ("boosted", boosted)])
    return GridSearchCV(pipeline, grid, cv=5, refit=False), table, y


def large(size: Size) -> Workload:
    """Return 500 MB of X with 40 trivial fits."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2_500 if size == "small" else 62_500, 1000))
    y = (X[:, 0] > 0).astype(int)
    grid = {"shift": np.linspace(-1, 1, 2 if size == "small" else 8)}
    return GridSearchCV(FirstColumnMean(), grid, cv=5, refit=False), X, y


def growth(fits: int) -> Callable[[Size], Workload]:
    """Return a workload of fits that cost nothing."""

    def workload(size: Size) -> Workload:
        X, y = np.zeros((50, 2)), np.tile([0, 1], 25)
        count = fits // (100 if size == "small" else 1) // 5
        grid = {"number": list(range(count))}
        return GridSearchCV(Nothing(), grid, cv=5, refit=False), X, y

    return workload


WORKLOADS: dict[str, Callable[[Size], Workload]] = {
    "digits": digits,
    "svc-grid": svc_grid,
    "svc-random": svc_random,
    "tiny-5000": tiny(1_000),
    "tiny-50000": tiny(10_000),
    "text": text,
    "boosting": boosting,
    "large": large,
    "growth-1000": growth(1_000),
    "growth-10000": growth(10_000),
    "growth-100000": growth(100_000),
}

GROWTH = tuple(name for name in WORKLOADS if name.startswith("growth-"))
