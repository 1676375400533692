"""Objects that cannot be sent to nodes are refused by name before any fit."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sklearn.model_selection import GridSearchCV

from skygrid.errors import UsageError
from tests.acceptance.doubles import ThresholdClassifier
from tests.acceptance.searches import flowers


class LockedClassifier(ThresholdClassifier):
    """Creates a lock in its constructor."""

    def __init__(self, level: Any = 1) -> None:
        super().__init__(level)
        self._lock = threading.Lock()


class Shy:
    """Holds a lock and is copied by reference."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __deepcopy__(self, memo: Any) -> Shy:
        return self


def test_a_lock_in_the_estimator_is_named(cluster: Any) -> None:
    """The error names a lock by its path from the estimator."""
    search = GridSearchCV(LockedClassifier(), {"level": [1]}, cv=2)
    with pytest.raises(UsageError, match=r"^estimator\._lock is a lock .* sent to nodes"):
        cluster.fit(search, *flowers())
    assert not hasattr(search, "cv_results_")


def test_a_lock_in_a_candidate_is_named(cluster: Any) -> None:
    """The error names a lock by its path from the candidate."""
    search = GridSearchCV(ThresholdClassifier(), {"level": [1, Shy()]}, cv=2)
    with pytest.raises(UsageError, match=r"^candidates\[1\]\['level'\]\.lock is a lock"):
        cluster.fit(search, *flowers())


def test_a_refused_search_leaves_the_cluster_usable(cluster: Any) -> None:
    """A refused search leaves the cluster usable."""
    with pytest.raises(UsageError):
        cluster.fit(GridSearchCV(LockedClassifier(), {"level": [1]}, cv=2), *flowers())
    search = cluster.fit(GridSearchCV(ThresholdClassifier(), {"level": [1]}, cv=2), *flowers())
    assert search.best_params_ == {"level": 1}
