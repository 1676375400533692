"""A fitted search opens without skygrid."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from skygrid.search_file import load_search
from skygrid.sklearn_search.saved_search import save_search
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
    """Return a bare interpreter's output for a pickled search: class, score and predictions."""
    saved, predicted = folder / "search.pkl", folder / "predicted.npy"
    with saved.open("wb") as file:
        assert save_search((search, X), file) is None
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
    """Plain pickle opens the search with its class and the same predictions."""
    X, y = flowers()
    search = cluster.fit(make(), X, y)
    said, predicted = opened_elsewhere(search, X, tmp_path)
    assert said.startswith(name)
    assert predicted.tobytes() == search.predict(X).tobytes()


def test_objects_that_functions_refer_to_are_saved(tmp_path: Path) -> None:
    """Locks, cached and overloaded functions of a user's module are saved with the search."""
    (tmp_path / "search.py").write_text(
        """
import functools, threading
from sklearn.datasets import load_iris
from sklearn.preprocessing import FunctionTransformer
from sklearn.pipeline import make_pipeline
from sklearn.naive_bayes import GaussianNB

LOCK, AGAIN = threading.Lock(), threading.RLock()

@functools.lru_cache(maxsize=3)
def shift(number):
    return number + 1

@functools.singledispatch
def scaled(X):
    return X * shift(1)

@scaled.register
def _(X: list):
    raise TypeError

class Factor:
    @functools.cached_property
    def value(self):
        return 2

FACTOR = Factor()

def transformed(X):
    with LOCK, AGAIN:
        return scaled(X) * FACTOR.value

dataset = load_iris(return_X_y=True)
estimator = make_pipeline(FunctionTransformer(transformed), GaussianNB())
param_grid = {"gaussiannb__var_smoothing": [1e-9]}
"""
    )
    spec = load_search(tmp_path / "search.py")
    search = spec.search.fit(spec.X, spec.y)
    _, predicted = opened_elsewhere(search, spec.X, tmp_path)
    assert predicted.tolist() == search.predict(spec.X).tolist()


def test_a_search_with_an_unpicklable_object_needs_the_users_files(tmp_path: Path) -> None:
    """A search that refers to a generator is saved, with a message about what it needs."""
    (tmp_path / "generating.py").write_text(
        "numbers = (n for n in range(3))\ndef f(X):\n    return X, numbers\n"
    )
    (tmp_path / "search.py").write_text(
        "import generating\nfrom sklearn.preprocessing import FunctionTransformer\n"
        "from sklearn.svm import SVC\ndataset = [[0], [1]] * 5, [0, 1] * 5\n"
        "estimator = SVC()\nparam_grid = {'C': [1]}\n"
    )
    spec = load_search(tmp_path / "search.py")
    file = io.BytesIO()
    problem = save_search(FunctionTransformer(sys.modules["generating"].f), file)
    assert problem is not None
    assert "generator" in problem
    assert pickle.loads(file.getvalue()).func is sys.modules["generating"].f
    assert "generating" in spec.code.modules


SAVE_AGAIN = """
import pickle, sys
import cloudpickle

with open(sys.argv[1], "rb") as file:
    search, X = pickle.load(file)
with open(sys.argv[1], "wb") as file:
    cloudpickle.dump((search, X), file)
"""


def test_a_loaded_search_is_saved_again_by_cloudpickle(tmp_path: Path) -> None:
    """cloudpickle saves a loaded search again, with its classes, when the search file is gone."""
    (tmp_path / "search.py").write_text(
        "from sklearn.datasets import load_iris\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        "from sklearn.svm import SVC\n"
        "class Own(SVC): pass\n"
        "def doubled(X): return X * 2\n"
        "dataset = load_iris(return_X_y=True)\n"
        "estimator = make_pipeline(FunctionTransformer(doubled), Own())\n"
        "param_grid = {'own__C': [1]}\n"
    )
    spec = load_search(tmp_path / "search.py")
    search = spec.search.fit(spec.X, spec.y)
    saved = tmp_path / "elsewhere" / "search.pkl"
    saved.parent.mkdir()
    with saved.open("wb") as file:
        assert save_search((search, spec.X), file) is None
    for code, *arguments in ((SAVE_AGAIN, saved), (OPEN, saved, saved.parent / "predicted.npy")):
        command = [sys.executable, "-I", "-c", code, *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)
    predicted = np.load(saved.parent / "predicted.npy")
    assert predicted.tolist() == search.predict(spec.X).tolist()
