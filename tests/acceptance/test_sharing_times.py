"""`cv_results_` gives each candidate the time of a separate fit, even if it was shared."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from tests.acceptance.searches import rows
from tests.acceptance.sharing import Shared

PCA_SECONDS = 100.0

COSTS: dict[tuple[type, str], Callable[[Any], float]] = {
    (PCA, "fit_transform"): lambda step: PCA_SECONDS,
    (RandomForestClassifier, "fit"): lambda forest: float(forest.n_estimators),
    (GradientBoostingClassifier, "fit"): lambda boosting: float(boosting.n_estimators),
    (SVC, "fit"): lambda machine: 7.0,
    (LogisticRegression, "fit"): lambda model: 3.0,
}
"""Seconds by which each call of a method advances the clock."""


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the clock: only the fits of `COSTS` take time."""
    now = 0.0

    def costly(method: Callable[..., Any], seconds: Callable[[Any], float]) -> Any:
        def call(estimator: Any, *arguments: Any, **named: Any) -> Any:
            nonlocal now
            now += seconds(estimator)
            return method(estimator, *arguments, **named)

        # A method that was replaced by a plain function would turn sharing off.
        return functools.partialmethod(call)

    for (kind, name), seconds in COSTS.items():
        monkeypatch.setattr(kind, name, costly(getattr(kind, name), seconds))
    for name in ("time", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: now)


def samples() -> tuple[Any, Any]:
    return make_classification(n_samples=60, n_features=10, random_state=0)


@rows(
    forest=(
        "A smaller forest takes its share of the largest one's time.",
        lambda: Shared(
            RandomForestClassifier(random_state=0), {"n_estimators": [3, 12, 6]}, *samples()
        ),
    ),
    boosting=(
        "A shorter boosting takes its share of the longest one's time.",
        lambda: Shared(
            GradientBoostingClassifier(random_state=0), {"n_estimators": [2, 8]}, *samples()
        ),
    ),
    unused_parameters=(
        "A candidate with the same fit takes the same time.",
        lambda: Shared(SVC(kernel="linear"), {"gamma": [0.1, 1.0, 2.0]}, *samples()),
    ),
    first_steps=(
        "Shared first steps count with their time in the other fit.",
        lambda: Shared(
            make_pipeline(PCA(3, svd_solver="full"), LogisticRegression()),
            {"logisticregression__C": [0.01, 0.1, 1.0]},
            *samples(),
        ),
    ),
    forests_after_first_steps=(
        "A member takes a share of the last step and all of the first steps.",
        lambda: Shared(
            make_pipeline(PCA(3, svd_solver="full"), RandomForestClassifier(random_state=0)),
            {
                "randomforestclassifier__n_estimators": [2, 8],
                "randomforestclassifier__max_depth": [3, None],
            },
            *samples(),
        ),
    ),
)
def test_times_are_those_of_separate_fits(row: Any, tmp_path: Path) -> None:
    """Each fit time is that of a separate fit, and shared results are marked."""
    shared = row.make()
    together, apart = shared.together(tmp_path), shared.apart()
    assert [one.fit_seconds for one in together] == [one.fit_seconds for one in apart]
    assert any(one.answered or one.prefix_kept for one in together)
    assert not any(one.answered or one.prefix_kept for one in apart)
