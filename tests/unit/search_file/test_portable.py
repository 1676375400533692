"""Objects that cannot be pickled are refused by name and path while the search file is loaded."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import pytest

from skygrid.errors import SearchFileError, UsageError
from skygrid.search_file import load_search
from skygrid.search_file.portable import find_obstacle, obstacles_named

HEAD = """\
import sqlite3, socket, threading
from functools import partial
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

LOCK = threading.Lock()
A, B = np.arange(24.0).reshape(12, 2), np.arange(12) % 2

class Plain(TransformerMixin, BaseEstimator):
    def __init__(self, callback=None):
        self.callback = callback
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        return X

class Locked(Plain):
    def __init__(self, callback=None):
        self.callback = callback
        self._lock = threading.Lock()

class Shared(Plain):
    lock = threading.RLock()

class Reading(Plain):
    def __init__(self, callback=None):
        self.callback = callback
        self._things = [open(__file__), {}.keys(), memoryview(b"ab"), threading.current_thread]

class Deep(Plain):
    def __init__(self, callback=None):
        self.callback = callback
        self._deep = []
        for _ in range(400):
            self._deep = [self._deep]

LOG = open("/dev/null", "w")
NUMBERS = (number for number in range(3))

class Logged(Plain):
    def __init__(self, callback=None):
        super().__init__(callback)
    def fit(self, X, y=None):
        LOG.write("x")
        return super().fit(X, y)

class Viewing:
    def __init__(self):
        super().__init__()
    @property
    def view(self):
        return list(NUMBERS)
    def score(self, estimator, X, y):
        return 1.0

class Left(Locked):
    def __getstate__(self):
        return super().__getstate__() | {"_lock": None}

class Box:
    __slots__ = ("content",)
    def __init__(self, content):
        self.content = content
    def __deepcopy__(self, memo):
        return self

def score(estimator, X, y):
    with LOCK:
        return 1.0

def under(lock):
    def held(estimator, X, y):
        with lock:
            return 1.0
    return held

def writes(file):
    def inner(X):
        return X + (lambda: file.fileno())()
    return inner

def piped(step):
    return Pipeline([("scale", step), ("clf", SVC())])

estimator, param_grid, dataset = piped(None), {"clf__C": [1]}, (A, B)
"""
LINE = HEAD.count("\n") + 1

REFUSED = {
    "made_by_the_constructor": ("estimator = piped(Locked())", "estimator.scale._lock is a lock"),
    "deep": (
        "estimator = piped(make_pipeline(Locked()))",
        "estimator.scale.locked._lock is a lock",
    ),
    "parameter": ("estimator = piped(Plain(LOCK))", "estimator.scale.callback is a lock"),
    "generator": (
        "estimator = piped(FunctionTransformer(kw_args={'all': (i for i in 'ab')}))",
        "estimator.scale.kw_args['all'] is a generator",
    ),
    "closure": (
        "estimator = piped(FunctionTransformer(writes(open('/dev/null', 'w'))))",
        "estimator.scale.func, variable 'file' of inner(), is an open file (_io.TextIOWrapper)",
    ),
    "grid": (
        "param_grid = [{'scale': [None, Box({'db': sqlite3.connect(':memory:')})]}]",
        "param_grid[0]['scale'][1].content['db'] is a Connection (sqlite3.Connection)",
    ),
    "scoring": (
        "scoring, refit = {'own': under(LOCK), 'accuracy': 'accuracy'}, 'own'",
        "scoring['own'], variable 'lock' of held(), is a lock",
    ),
    "global": (
        "numbers = (i for i in 'ab'); scoring = lambda e, X, y: float(bool([LOCK, numbers]))",
        "scoring, variable 'numbers' of <lambda>(), is a generator",
    ),
    "default": (
        "scoring = lambda e, X, y, numbers=(i for i in 'ab'): 1.0",
        "scoring, a default of <lambda>()[0][0] is a generator",
    ),
    "cv": ("cv = KFold(2); cv.lock = LOCK", "cv.lock is a lock"),
    "class_with_super": (
        "estimator = piped(Logged())",
        "estimator.scale, attribute 'fit' of class Logged, variable 'LOG' of fit(), is an open",
    ),
    "property_of_a_class_with_super": (
        "scoring = Viewing().score",
        "scoring, attribute 'view' of class Viewing, variable 'NUMBERS' of view(), is a generator",
    ),
    "samples": (
        "dataset = ([['a'], [socket.socket()]] * 6, B)",
        "dataset's X[1][0] is a socket",
    ),
    "table": (
        "dataset = (pd.DataFrame({'a': A[:, 0], 'b': [None] * 11 + [LOCK]}), B)",
        "dataset's X['b'][11] is a lock",
    ),
    "fit_parameter": (
        "dataset = {'X': A, 'y': B, 'things': {'local': threading.local()}}",
        "dataset's things['local'] is a thread-local",
    ),
    "search": (
        "search = GridSearchCV(piped(Locked()), {'clf__C': [1]}); del estimator, param_grid",
        "search.estimator.scale._lock is a lock",
    ),
    "attribute_of_the_search": (
        "search = GridSearchCV(SVC(), {'C': [1]}); search.log = LOCK; del estimator, param_grid",
        "search.log is a lock",
    ),
}


def load(folder: Path, text: str) -> Any:
    path = folder / "search.py"
    path.write_text(HEAD + text + "\n")
    return load_search(path)


@pytest.mark.parametrize("name", REFUSED)
def test_an_object_that_cannot_be_pickled_is_named(name: str, tmp_path: Path) -> None:
    """The message has the file, the line, the path to the object and its kind."""
    text, said = REFUSED[name]
    with pytest.raises(SearchFileError) as caught:
        load(tmp_path, text)
    assert f"search.py, line {LINE}: {said}" in str(caught.value)
    assert "cannot be sent to nodes or saved" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "estimator = piped(Left())",
        "estimator = piped(Reading())",
        "estimator = piped(FunctionTransformer(lambda X: X))",
        "estimator = piped(Plain(score.__name__)); unused = LOCK",
        "dataset = (pd.DataFrame({'a': A[:, 0], 'b': ['x'] * 12}), B)",
        "estimator = piped(Shared())",
        "scoring = score",
        "refit = lambda results: LOCK.locked()",
    ],
)
def test_objects_that_can_be_pickled_are_accepted(text: str, tmp_path: Path) -> None:
    """Lambdas, objects with __getstate__, and locks of classes and modules are accepted."""
    assert load(tmp_path, text).search is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("estimator = piped(Plain(open(__file__)))", "estimator.scale.callback"),
        (
            "estimator = piped(Plain({'log': [open(__file__)]}))",
            "estimator.scale.callback['log'][0]",
        ),
        (
            "estimator = Pipeline([('clf', Plain(SVC(C=open(__file__))))])",
            "estimator.clf.callback.C",
        ),
        (
            "param_grid = {'scale': [None, Plain(open(__file__))]}",
            "param_grid['scale'][1].callback",
        ),
        ("param_grid = [{'clf__C': [1, open(__file__)]}]", "param_grid[0]['clf__C'][1]"),
    ],
)
def test_a_parameter_that_cannot_be_copied_is_named(text: str, said: str, tmp_path: Path) -> None:
    """An open file in a parameter is refused, because scikit-learn copies parameters."""
    with pytest.raises(SearchFileError) as caught:
        load(tmp_path, text)
    assert f"line {LINE}: {said} is an open file" in str(caught.value)
    assert "which scikit-learn cannot copy for each fit" in str(caught.value)
    assert "such as a path" in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_object_without_a_fingerprint_is_named(tmp_path: Path) -> None:
    """An object that can be pickled but not fingerprinted is refused by name."""
    with pytest.raises(SearchFileError, match=r"estimator\.scale.*RecursionError"):
        load(tmp_path, "estimator = piped(Deep())")


class Endless:
    """Object that refers to itself and cannot be pickled."""

    def __init__(self) -> None:
        self.own = [self]

    def __reduce__(self) -> Any:
        raise ValueError("not this one")


def test_cycles_end() -> None:
    """An object that refers to itself is named with the reason that it gives."""
    found = find_obstacle({"a": functools.partial(print, Endless())})
    assert found is not None
    assert found.path == "['a'].args[0]"
    assert "ValueError: not this one" in found.problem


def test_other_failures_pass() -> None:
    """A failure that no value explains is raised unchanged."""
    with pytest.raises(LookupError, match="another"), obstacles_named(X=[1]):
        raise LookupError("another")
    with (
        pytest.raises(UsageError, match=r"X\[1\] is a lock"),
        obstacles_named(y=2, X=[1, threading.Lock()]),
    ):
        raise LookupError("another")
