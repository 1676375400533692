"""`skygrid.fit` and `skygrid.cluster` as a program calls them."""

from __future__ import annotations

import inspect
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import skygrid
from skygrid.errors import ConfigError, UsageError

X, Y = load_iris(return_X_y=True)


def search() -> GridSearchCV:
    """Return an unfitted search with four fits."""
    return GridSearchCV(SVC(), {"C": [1, 10]}, cv=2)


@pytest.mark.parametrize(
    ("options", "config", "words"),
    [
        ({"nodes": 2}, "", r"nodes=2 does not say where the nodes are: write on='local'"),
        ({"nodes": 2}, 'on = "aws"\n', r"on in .*skygrid\.toml asks for nodes on aws"),
        ({"config": "skygrid.toml"}, 'on = "aws"\n', r"asks for nodes on aws, which cost money"),
    ],
)
def test_nothing_is_rented_unless_the_call_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    config: str,
    words: str,
) -> None:
    """Without on="aws" in the call, nodes that cost money are refused before anything starts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skygrid.toml").write_text(config)
    with pytest.raises(UsageError, match=words):
        skygrid.fit(search(), X, Y, **options)


def test_the_environment_rents_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SKYGRID_ON=aws is no consent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKYGRID_ON", "aws")
    with pytest.raises(UsageError, match="SKYGRID_ON asks for nodes on aws"):
        skygrid.cluster(nodes=2)


def test_an_estimator_is_answered_with_what_to_write() -> None:
    """An estimator in place of a search ends in the command line's message."""
    with pytest.raises(UsageError, match=r"which is no search; write e\.g\. GridSearchCV\(SVC"):
        skygrid.fit(SVC(), X, Y)


def test_signatures_name_every_option(tmp_path: Path) -> None:
    """`cluster` and `Cluster` have the same named parameters, and a type checker knows them."""
    ours = inspect.signature(skygrid.cluster).parameters
    assert all(one.kind is not inspect.Parameter.VAR_KEYWORD for one in ours.values())
    from skygrid.api import Cluster

    assert list(ours) == list(inspect.signature(Cluster).parameters)
    program = tmp_path / "program.py"
    program.write_text(
        "import skygrid\n"
        "class Search: ...\n"
        "found: Search = skygrid.fit(Search(), [], [])\n"
        "skygrid.cluster(nods=2)\n"
        "skygrid.load(3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent"]
    done = subprocess.run(
        [*command, str(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[1] for line in lines] == ["4", "5"], done.stdout


def test_a_fitted_search_can_be_dumped_again() -> None:
    """A search that skygrid has fitted is dumped by pickle and joblib as any other."""
    found = skygrid.fit(search(), X, Y, on="local", concurrency=1)
    again = pickle.loads(pickle.dumps(found))
    file = io.BytesIO()
    joblib.dump(again, file)
    file.seek(0)
    once_more = joblib.load(file)
    np.testing.assert_array_equal(once_more.predict(X), found.predict(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency is 0; it must be at least 1"),
        ({"concurrency": "two"}, "concurrency is 'two'; it must be a whole number"),
        ({"retries": -1}, "retries is -1; it must be 0 or more"),
        ({"fit_timeout": float("nan")}, "fit-timeout is nan; it must be seconds"),
    ],
)
def test_options_of_calls_have_the_ranges_of_the_command_line(
    options: dict[str, Any], message: str
) -> None:
    """A wrong option of a call on this machine is named before anything starts."""
    with pytest.raises(ConfigError, match=message):
        skygrid.cluster(**options)


def test_numbers_of_numpy_are_options() -> None:
    """An option that NumPy computed is a number."""
    skygrid.cluster(concurrency=np.int64(2), fit_timeout=np.float32(1.5))
