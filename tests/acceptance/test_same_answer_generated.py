"""Generated searches: small grids over estimators, data, scorers and settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tests.acceptance.doubles import (
    FailingClassifier,
    UnscorableClassifier,
    narrow_score,
    own_score,
    two_scores,
)
from tests.acceptance.searches import Job, Row, assert_same_answer, flowers

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

pytestmark = pytest.mark.sklearn_versions

ESTIMATORS: list[tuple[Callable[[], Any], dict[str, list[Any]]]] = [
    (SVC, {"C": [0.1, 1, 1.0, 10], "kernel": ["linear", "rbf"], "gamma": ["scale", 0.5]}),
    (
        lambda: DecisionTreeClassifier(random_state=0),
        {"max_depth": [None, 1, 2, 3], "min_samples_leaf": [1, 2, 0.1], "ccp_alpha": [0.0, 0.05]},
    ),
    (KNeighborsClassifier, {"n_neighbors": [1, 3, 40], "weights": ["uniform", "distance"]}),
    (LogisticRegression, {"C": [0.1, 1.0], "max_iter": [2, 200], "fit_intercept": [True, False]}),
    (FailingClassifier, {"level": [1, 2, 3], "error": ["value", "own"]}),
    (UnscorableClassifier, {"level": [1, 2, 3]}),
]
FORMS: list[Callable[[Any], Any]] = [
    np.ascontiguousarray,
    np.asfortranarray,
    lambda X: X.astype(np.float32),
    lambda X: X[:, ::-1],
    lambda X: pd.DataFrame(X, columns=list("abcd")),
]
SPARSE_FORMS = [sparse.csr_matrix, sparse.csc_matrix]
SPLITTERS: list[Callable[[], Any]] = [
    lambda: 2,
    lambda: KFold(3),
    lambda: StratifiedKFold(2, shuffle=True, random_state=5),
    lambda: ShuffleSplit(2, random_state=1),
]
SCORINGS: list[Any] = [
    None,
    "accuracy",
    "f1_macro",
    own_score,
    narrow_score,
    two_scores,
    ["accuracy"],
]


@st.composite
def jobs(draw: Any) -> Callable[[], Job]:
    """Draw a function that makes the same job at each call."""
    number = draw(st.integers(0, len(ESTIMATORS) - 1))
    make, space = ESTIMATORS[number]
    names = draw(st.sets(st.sampled_from(sorted(space)), min_size=1, max_size=2))
    grid = {
        name: draw(st.lists(st.sampled_from(space[name]), min_size=1, max_size=2))
        for name in sorted(names)
    }
    # The doubles index X, so they get no sparse X.
    form = draw(st.sampled_from(FORMS + (SPARSE_FORMS if number < 4 else [])))
    splitter = draw(st.sampled_from(SPLITTERS))
    scoring = draw(st.sampled_from(SCORINGS))
    refits: list[Any] = [False, True, "accuracy", "share"]
    options = {
        "scoring": scoring,
        "refit": draw(st.sampled_from(refits)),
        "error_score": draw(st.sampled_from([np.nan, 0, -1.5, "raise"])),
        "return_train_score": draw(st.booleans()),
    }

    def job() -> Job:
        X, y = flowers()
        return Job(GridSearchCV(make(), grid, cv=splitter(), **options), form(X), y)

    return job


@hypothesis.given(make=jobs())
@hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_generated_searches(make: Callable[[], Job], cluster: Any, capfd: Any) -> None:
    """Any small search gives scikit-learn's answer."""
    assert_same_answer(cluster, Row("generated", "Any search.", make), capfd)
