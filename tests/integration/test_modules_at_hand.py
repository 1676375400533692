"""On this machine, slots import the modules that the calling process can import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

import skygrid

MODULE = """
from sklearn.base import BaseEstimator

class Constant(BaseEstimator):
    def __init__(self, value=0):
        self.value = value

    def fit(self, X, y=None):
        return self

    def score(self, X, y=None):
        return {factor} * self.value
"""


@pytest.fixture
def cluster() -> Iterator[Any]:
    with skygrid.cluster(concurrency=2) as found:
        yield found


def module(folder: Path, name: str, factor: int) -> Any:
    """Write a module and import it."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(MODULE.format(factor=factor))
    importlib.invalidate_caches()
    return importlib.import_module(name)


def scores(cluster: Any, estimator: Any) -> list[float]:
    search = GridSearchCV(estimator, {"value": [1, 2]}, cv=2, refit=False)
    cluster.fit(search, np.zeros((8, 1)), np.arange(8) % 2)
    return list(search.cv_results_["mean_test_score"])


def test_modules_in_folders_that_were_added_later(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules in a folder can be imported in slots once it is on `sys.path`."""
    for number, name in enumerate(("at_hand_first", "at_hand_second"), start=1):
        monkeypatch.syspath_prepend(tmp_path / name)
        made = module(tmp_path / name, name, factor=number)
        assert scores(cluster, made.Constant()) == [number, 2 * number]


def test_modules_in_the_folder_of_a_session(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an interactive session, modules in the current folder can be imported in slots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    made = module(tmp_path, "at_hand_here", factor=3)
    assert scores(cluster, made.Constant()) == [3, 6]
