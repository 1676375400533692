"""Shared parts of slots are removed after their split and their round."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from tests import misbehaving as bad
from tests.driven import Driven, Nodes
from tests.processes import wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")


SIZE = (1500, 400)
"""Shape of data whose PCA always takes long enough for a part to be kept."""


def _command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process; empty if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):  # zombies included
        return process.cmdline()
    return []


def _folders(agent: int) -> list[Path]:
    """Return the shared folders of an agent, from its processes that remove them."""
    commands = map(_command_of, psutil.Process(agent).children())
    return [Path(command[-1]) for command in commands if command[:1] == ["/bin/sh"]]


def _parts(folder: Path, split: int) -> list[str]:
    """Return the parts of a split."""
    return [
        name
        for name in os.listdir(folder)
        if name.startswith(f"{split}-") and not name.endswith(".lock")
    ]


def test_the_end_of_a_split_frees_its_memory_during_the_round(
    tmp_path: Path,
) -> None:
    """Parts of the first split are removed while a fit on the second split runs."""
    ledger = tmp_path / "ledger"
    line = Pipeline([("pca", PCA(5, svd_solver="full")), ("own", bad.GatedLater())])
    line.set_params(own__path=str(ledger))
    search = GridSearchCV(line, {"own__a": [1, 2, 3]}, cv=2, refit=False)
    X = np.random.default_rng(0).normal(size=SIZE)
    y = np.arange(len(X)) % 2
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            run.fit(search, X, y)
        except BaseException as error:  # raised on the test's own thread
            failures.append(error)

    with Driven(Nodes()) as run:
        fitting = threading.Thread(target=fit)
        fitting.start()
        try:
            wait_until(
                lambda: failures or (ledger.exists() and len(ledger.read_text().split()) > 3),
                "a fit on the second split",
            )
            (folder,) = _folders(run.nodes.pid("node-1"))
            wait_until(lambda: not _parts(folder, 0), "the first split's memory")
            assert _parts(folder, 1)
        finally:
            (tmp_path / "ledger.gate").touch()
            fitting.join()
        assert failures == []
        assert [one.prefix_kept for one in run.watch.outcomes] == [False, True, True] * 2
        assert search.cv_results_["mean_test_score"].tolist() == [1.0, 2.0, 3.0]
        # A round without sharing has no folder.
        run.fit(GridSearchCV(bad.Harmless(), {"a": [1, 2]}, cv=2, refit=False), X[:20], y[:20])
        assert not folder.exists()
        assert _folders(run.nodes.pid("node-1")) == []


def test_every_agent_has_its_own_folder(tmp_path: Path) -> None:
    """Two nodes of one machine have separate folders, which are removed at their end."""
    found: dict[int, list[Path]] = {}
    line = Pipeline([("pca", PCA(5, svd_solver="full")), ("own", bad.Harmless())])
    search: Any = GridSearchCV(line, {"own__a": list(range(8))}, cv=2, refit=False)
    X = np.random.default_rng(0).normal(size=SIZE)
    with Driven(Nodes(2)) as run:

        def look() -> None:
            for name in run.nodes.names():
                pid = run.nodes.pid(name)
                found.setdefault(pid, _folders(pid))

        run.watch.on_outcomes = look
        run.fit(search, X, np.arange(len(X)) % 2)
    folders = [folder for mine in found.values() for folder in mine]
    assert folders
    assert len(set(folders)) == len(folders)
    assert not any(folder.exists() for folder in folders)
