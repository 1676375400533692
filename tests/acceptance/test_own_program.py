"""Functions, classes, settings and warning filters of a calling script reach the fits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

SCRIPT = """
import enum, functools, os, pickle, sys, threading

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV

import registry, skygrid
from registry import KINDS, register

os.environ["STRENGTH"] = "0.25"
LOCK = threading.Lock()
Mode = enum.Enum("Mode", "A B")
LARGE = np.arange(10)


@functools.lru_cache
def cached(number):
    return number + len(LARGE)


@register
class Estimator(ClassifierMixin, BaseEstimator):
    def __init__(self, mode=None, shift=None):
        self.mode, self.shift = mode, shift

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        with LOCK:
            copy = pickle.loads(pickle.dumps(type(self)(self.mode)))
        assert type(copy) is Estimator and copy.mode is self.mode is Mode.B
        assert self.shift(1) == 11 and cached(3) == 13
        assert registry.KINDS is KINDS and registry.found("Estimator") is Estimator
        assert registry.LIMIT.tolist() == [1.5]
        self.score_ = float(os.environ["STRENGTH"]) + float(np.geterr()["under"] == "raise")
        return self

    def score(self, X, y):
        return self.score_


if __name__ == "__main__":
    X, y = np.zeros((12, 1)), np.arange(12) % 2
    registry.LIMIT = np.array([1.5])
    grid = {"mode": [Mode.B], "shift": [lambda n: n + len(LARGE), lambda n: cached(n)]}
    with np.errstate(under="raise"):
        own = GridSearchCV(Estimator(), grid, cv=3, error_score="raise", refit=False).fit(X, y)
        with skygrid.cluster(nodes=2, concurrency=1, on="local", start_method=sys.argv[1]) as nodes:
            for _ in range(2):
                search = GridSearchCV(Estimator(), grid, cv=3, error_score="raise", refit=False)
                nodes.fit(search, X, y)
                print(search.cv_results_["mean_test_score"], own.cv_results_["mean_test_score"])
"""

REGISTRY = """
KINDS, LIMIT = {}, None

def register(kind):
    KINDS[kind.__name__] = kind
    return kind

def found(name):
    return KINDS[name]
"""

FILTERING = """
import sys, warnings
import counted
warnings.filterwarnings("error", category=counted.CountedWarning)

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV
import skygrid

X, y = np.zeros((12, 1)), np.arange(12) % 2
with skygrid.cluster(nodes=2, concurrency=1, on="local", start_method=sys.argv[1]) as nodes:
    for _ in range(2):
        nodes.fit(GridSearchCV(DummyClassifier(), {"random_state": [1, 2, 3]}, cv=3), X, y)
"""

COUNTED = """
with open(__file__ + ".imports", "a") as file:
    file.write("x")

class CountedWarning(UserWarning):
    pass
"""


def run_script(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``script.py`` in its folder to its end."""
    return subprocess.run(
        [sys.executable, "script.py", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_classes_functions_and_settings_of_a_script_reach_fits(
    tmp_path: Path, start_method: str
) -> None:
    """In a fit, classes and functions of the script are themselves, and its settings apply."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "registry.py").write_text(REGISTRY)
    done = run_script(tmp_path, start_method)
    assert done.stdout == "[1.25 1.25] [1.25 1.25]\n" * 2, done.stderr


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_warning_filter_imports_nothing_on_nodes(tmp_path: Path, start_method: str) -> None:
    """Nodes do not import the module of a warning that a filter names."""
    (tmp_path / "script.py").write_text(FILTERING)
    (tmp_path / "counted.py").write_text(COUNTED)
    done = run_script(tmp_path, start_method)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "counted.py.imports").read_text() == "x"


SWITCHING = """
import os
import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV
import skygrid

def scoring(estimator, X, y):
    from scipy._lib import _array_api
    return float(str(_array_api.SCIPY_ARRAY_API) == "1")

X, y = np.zeros((12, 1)), np.arange(12) % 2
with skygrid.cluster(on="local", concurrency=2, start_method="fork") as cluster:
    for value in ("", "1", "1", ""):
        os.environ.pop("SCIPY_ARRAY_API", None)
        if value:
            os.environ["SCIPY_ARRAY_API"] = value
        search = GridSearchCV(DummyClassifier(), {"strategy": ["prior"]}, scoring=scoring)
        print(cluster.fit(search, X, y).cv_results_["mean_test_score"][0])
"""


def test_a_search_gets_slots_with_its_variables(tmp_path: Path) -> None:
    """Slots that have imported a library with other variables serve no later search."""
    (tmp_path / "script.py").write_text(SWITCHING)
    environment = {name: text for name, text in os.environ.items() if name != "SCIPY_ARRAY_API"}
    done = run_script(tmp_path, env=environment)
    assert done.stdout.split() == ["0.0", "1.0", "1.0", "0.0"], done.stderr


UNTOUCHED = """
import importlib, sys

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV

import skygrid


class Estimator(ClassifierMixin, BaseEstimator):
    def __init__(self, raises=False):
        self.raises = raises

    def fit(self, X, y):
        assert ("unused" in sys.modules) == hasattr(sys, "has_fitted")
        sys.has_fitted, self.classes_ = True, np.unique(y)
        unused, other = map(importlib.import_module, ("unused", "other"))
        assert unused.HELD.level == 5 and unused.HELD.parts[0] is other.PARTS["a"]
        if self.raises:
            raise unused.LOCAL("made by a function")
        return self

    def score(self, X, y):
        return 1.0


if __name__ == "__main__":
    unused, other = map(importlib.import_module, ("unused", "other"))
    unused.HELD.level, part = 5, unused.Part()
    unused.HELD.parts.append(part)
    other.PARTS["a"] = part
    X, y = np.zeros((12, 1)), np.arange(12) % 2
    with skygrid.cluster(concurrency=2, on="local", start_method=sys.argv[1]) as nodes:
        for raises in (False, True):
            search = GridSearchCV(Estimator(raises), {}, cv=4, error_score="raise", refit=False)
            try:
                print(nodes.fit(search, X, y).cv_results_["mean_test_score"])
            except unused.LOCAL as error:
                print(error)
"""
UNUSED = """
class Part:
    pass

class Held:
    def __init__(self):
        self.level, self.parts = 0, []

def make():
    class Local(LookupError):
        pass
    return Local

HELD, LOCAL = Held(), make()
"""


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_modules_that_no_fit_needs_are_not_imported(tmp_path: Path, start_method: str) -> None:
    """A fit that imports a module finds the program's objects in it; nodes import it no earlier."""
    (tmp_path / "script.py").write_text(UNTOUCHED)
    (tmp_path / "unused.py").write_text(UNUSED)
    (tmp_path / "other.py").write_text("PARTS = {}\n")
    done = run_script(tmp_path, start_method)
    assert done.stdout == "[1.]\nmade by a function\n", done.stderr
