"""`cv_results_` says what each candidate's own fit would have taken, whoever computed it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC

from tests.acceptance.searches import rows
from tests.acceptance.sharing import Shared

RATIO = 2.5
"""Other work takes caches and memory away, from one measurement more than from the next."""

ROUNDS = 5
"""Other work makes a fit longer, never shorter: a ratio that several rounds' shortest fits keep is
not the machine's doing."""


@pytest.fixture(autouse=True)
def _own_work_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks stand while others have the processor.

    On a busy machine the kernel favours who has just waited for a file, and fits in this way would
    seem shorter by far than those that do nothing but compute.
    """
    for name in ("time", "perf_counter"):
        monkeypatch.setattr(time, name, time.process_time)


def samples(n: int, features: int) -> tuple[Any, Any]:
    return make_classification(n_samples=n, n_features=features, n_informative=8, random_state=0)


LONG = rows(
    forest=(
        "Smaller forests are credited with their share of the largest.",
        lambda: Shared(
            make_pipeline(StandardScaler(), RandomForestClassifier(random_state=0)),
            {"randomforestclassifier__n_estimators": [30, 120, 60]},
            *samples(1500, 20),
            cv=3,
        ),
    ),
    boosting=(
        "So are shorter boostings, and they are scored by themselves.",
        lambda: Shared(
            GradientBoostingClassifier(random_state=0),
            {"n_estimators": [10, 40, 20]},
            *samples(1000, 20),
            cv=3,
        ),
    ),
    kernel=(
        "What is answered whole is credited with all of it.",
        lambda: Shared(SVC(kernel="linear"), {"gamma": [0.1, 1.0, 2.0]}, *samples(1500, 20), cv=3),
    ),
    first_steps=(
        "Fits that begin with another's first steps are credited with those.",
        lambda: Shared(
            make_pipeline(
                PolynomialFeatures(2), PCA(20, svd_solver="full"), LogisticRegression(tol=0.1)
            ),
            {"logisticregression__C": [0.01, 0.1, 1.0]},
            *samples(1000, 20),
            cv=3,
        ),
    ),
    a_group_after_first_steps=(
        "Members of a group are credited with first steps that came from elsewhere.",
        lambda: Shared(
            make_pipeline(PCA(60, svd_solver="full"), RandomForestClassifier(random_state=0)),
            {
                "randomforestclassifier__n_estimators": [10, 40],
                "randomforestclassifier__max_depth": [3, None],
            },
            *samples(1500, 120),
            cv=3,
        ),
    ),
)


def shortest(found: list[Any], candidates: int) -> Any:
    """Return each candidate's shortest fit in seconds, shape (candidates,)."""
    times = np.array([result.fit_seconds for result in found])
    return times.reshape(-1, candidates).min(axis=0)


def fresh(folder: Path, number: int) -> Path:
    """Make a place for first steps that holds none of another round."""
    made = folder / str(number)
    made.mkdir()
    return made


@LONG
def test_times_are_those_of_separate_fits(row: Any, tmp_path: Path) -> None:
    """The shortest fit of each candidate is close to the shortest of a fit made for it alone."""
    shared = row.make()
    together: list[Any] = []
    apart: list[Any] = []
    for number in range(ROUNDS):
        together += shared.together(fresh(tmp_path, number))
        apart += shared.apart()
        assert any(result.answered or result.prefix_kept for result in together)
        ours, theirs = (shortest(found, len(shared.candidates)) for found in (together, apart))
        if np.all((theirs / RATIO < ours) & (ours < theirs * RATIO)):
            return
    pytest.fail(f"credited with {ours} s, alone {theirs} s")


def test_a_fit_of_twice_the_rounds_takes_about_twice_as_long(tmp_path: Path) -> None:
    """Members of one group are not all credited with the same time."""
    shared = Shared(
        RandomForestClassifier(random_state=0),
        {"n_estimators": [20, 80]},
        *samples(1500, 20),
        cv=3,
    )
    found: list[Any] = []
    for number in range(ROUNDS):
        found += shared.together(fresh(tmp_path, number))
        short, long = shortest(found, 2)
        if 4 / RATIO < long / short < 4 * RATIO:
            return
    pytest.fail(f"20 trees {short} s, 80 trees {long} s")
