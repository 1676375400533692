"""A fitted search opens where skygrid is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from tests.acceptance.doubles import DoublingSearch, ThresholdClassifier, own_score
from tests.acceptance.searches import flowers

pytestmark = pytest.mark.sklearn_versions

OPEN = """
import sys

class Nowhere:
    # An environment without these packages.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"skygrid", "tests", "msgspec"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nowhere())
import pickle
import numpy as np

with open(sys.argv[1], "rb") as file:
    search, X = pickle.load(file)
assert not any(name.partition(".")[0] == "skygrid" for name in sys.modules)
np.save(sys.argv[2], search.predict(X))
kind = type(search)
print(kind.__module__, kind.__qualname__, search.scorer_(search, X, search.predict(X)))
"""


def opened_elsewhere(search: Any, X: Any, folder: Path) -> tuple[str, Any]:
    """What a bare interpreter says of a pickled search: its class, a score, its predictions."""
    saved, predicted = folder / "search.pkl", folder / "predicted.npy"
    saved.write_bytes(cloudpickle.dumps((search, X)))
    done = subprocess.run(
        [sys.executable, "-I", "-c", OPEN, str(saved), str(predicted)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), np.load(predicted)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (
            lambda: GridSearchCV(SVC(), {"C": [0.1, 1]}, cv=3),
            "sklearn.model_selection._search GridSearchCV 1.0",
        ),
        (
            lambda: HalvingGridSearchCV(
                GaussianNB(), {"var_smoothing": [1e-9, 1]}, cv=2, random_state=0
            ),
            "sklearn.model_selection._search_successive_halving HalvingGridSearchCV 1.0",
        ),
        (
            lambda: GridSearchCV(ThresholdClassifier(), {"level": [1, 2]}, scoring=own_score, cv=3),
            "sklearn.model_selection._search GridSearchCV 0.57735",
        ),
        (
            lambda: DoublingSearch(SVC(), {"C": [1]}, cv=3),
            "tests.acceptance.doubles DoublingSearch 1.0",
        ),
    ],
    ids=["grid", "halving", "own estimator and scorer", "own search class"],
)
def test_opens_without_skygrid(make: Any, name: str, cluster: Any, tmp_path: Path) -> None:
    """Plain pickle opens it, its class is the one that it had, and it predicts the same."""
    X, y = flowers()
    search = cluster.fit(make(), X, y)
    said, predicted = opened_elsewhere(search, X, tmp_path)
    assert said.startswith(name)
    assert predicted.tobytes() == search.predict(X).tobytes()
