"""Searches that fit other searches between their rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier


def samples(seed: int, n_samples: int = 60) -> tuple[Any, Any]:
    """Return X and y; each seed gives another problem of another width."""
    return make_classification(
        n_samples=n_samples, n_features=4 + seed, n_redundant=0, flip_y=0.4, random_state=seed
    )


def tree() -> DecisionTreeClassifier:
    """Return a tree whose scores depend on its depth."""
    return DecisionTreeClassifier(random_state=0)


def by_sklearn(search: Any, X: Any, y: Any) -> Any:
    """Fit as scikit-learn does."""
    return search.fit(X, y)


class Nesting(GridSearchCV):
    """Fits another search between its rounds, recursively down to `depth` 0."""

    fit_with: ClassVar[Callable[..., Any]]
    """Fits the other searches: `by_sklearn`, or a cluster's ``fit``."""

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        depth: int = 1,
        cv: Any = None,
        refit: Any = True,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator, param_grid, cv=cv, refit=refit, return_train_score=return_train_score
        )
        self.depth = depth

    def _run_search(self, evaluate_candidates: Any) -> None:
        evaluate_candidates([{"max_depth": 1}, {"max_depth": 2}])
        if self.depth:
            self.inner_ = Nesting(
                tree(),
                {},
                depth=self.depth - 1,
                cv=2,
                return_train_score=not self.return_train_score,
            )
            Nesting.fit_with(self.inner_, *samples(self.depth - 1))
        evaluate_candidates([{"max_depth": 3}, {"max_depth": 4}])
