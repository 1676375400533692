"""Whole runs with shared fits give scikit-learn's object, also after kills."""

from __future__ import annotations

import os
import pickle
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from sklearn.base import clone

from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome
from skygrid.search_file import load_search
from tests.acceptance.sameness import differences
from tests.command import Command, gone, recorded, result, skygrid, wait_for
from tests.processes import wait_until

pytestmark = pytest.mark.faults

SIZES = [40, 30, 20, 10]
"""Trees of the group's members, in the order in which a slot answers them."""

GROUP_SEARCH = '''
"""One group of forests after a scaler; the scorer tells what it scores, and can be held up."""
import os
import threading
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
SPLITS = 2


def score(estimator, X, y):
    trees, split = estimator[-1].n_estimators, int(X[0, 0]) * SPLITS // 60
    ledger = os.open(HERE / "ledger.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{split} {trees} {os.getpid()}\\n".encode())
    os.close(ledger)
    while (split, trees) == (0, 20) and not (HERE / "gate").exists():
        threading.Event().wait(0.01)
    return float(np.mean(estimator.predict(X) == y))


rng = np.random.RandomState(0)
X = rng.randn(60, 4)
X[:, 0] = np.arange(60)
y = (X[:, 1] + 0.5 * rng.randn(60) > 0).astype(int)
estimator = make_pipeline(StandardScaler(), RandomForestClassifier(random_state=0))
param_grid = {"randomforestclassifier__n_estimators": [30, 10, 40, 20]}
dataset = (X, y)
cv = KFold(SPLITS)
scoring = score
'''


LARGE_SEARCH = '''
"""So many settings of naive Bayes that parts of their group have more than 64 members."""
import numpy as np
from sklearn.naive_bayes import GaussianNB

rng = np.random.RandomState(0)
X = rng.randn(60, 4)
y = (X[:, 1] + 0.5 * rng.randn(60) > 0).astype(int)
estimator = GaussianNB()
param_grid = {"var_smoothing": list(np.logspace(-9, 3, 1100))}
dataset = (X, y)
cv = 2
'''


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """Write a search of one group whose third member waits for the gate file on split 0."""
    (tmp_path / "search.py").write_text(GROUP_SEARCH)
    return tmp_path


def _scored(folder: Path) -> list[tuple[int, int, int]]:
    """Return (split, trees, process id) of each scoring."""
    path = folder / "ledger.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(map(int, line.split())) for line in lines]  # type: ignore[misc]


def _times_scored(folder: Path) -> Counter[tuple[int, int]]:
    return Counter((split, trees) for split, trees, _ in _scored(folder))


def _held_up(folder: Path, *options: str) -> tuple[Command, int]:
    """Start a run whose group stops at its third member; return the run and the slot's pid."""
    command = Command(folder, "run", "search.py", "--name", "r", *options)

    def stands() -> bool:
        found = _times_scored(folder)
        return found[0, 20] > 0 and {(0, trees) for trees in (40, 30)} <= _on_disk(folder)

    wait_for(lambda: stands() or command.process.poll() is not None, "the group to stand still")
    assert command.process.poll() is None, command.end()
    (process,) = {pid for split, trees, pid in _scored(folder) if (split, trees) == (0, 20)}
    return command, process


def _on_disk(folder: Path) -> set[tuple[int, int]]:
    """Return (split, trees) of each recorded outcome."""
    return (
        {(split, trees) for split, trees in _outcomes(folder)} if recorded(folder, "r") else set()
    )


def _outcomes(folder: Path) -> dict[tuple[int, int], Outcome]:
    """Return recorded outcomes by (split, trees)."""
    found = {}
    journal = SqliteJournal(folder / "skygrid-runs" / "r" / "journal.sqlite", read_only=True)
    try:
        for one in journal.outcomes(0):
            found[one.split, [30, 10, 40, 20][one.candidate]] = one
    finally:
        journal.close()
    return found


def _answered(folder: Path, split: int = 0) -> dict[int, int]:
    """Return by trees the size of the forest whose fit answered each member."""
    return {
        trees: [30, 10, 40, 20][one.answered_by] if one.answered_by >= 0 else trees
        for (on, trees), one in _outcomes(folder).items()
        if on == split
    }


def _by_sklearn(folder: Path) -> Any:
    """Return the search, fitted by scikit-learn in this process."""
    spec = load_search(folder / "search.py")
    return clone(spec.search).fit(spec.X, spec.y, **spec.fit_params)


def _assert_same_object(folder: Path, run: str = "r") -> None:
    """Check that the saved search is scikit-learn's except for times."""
    (folder / "gate").touch()
    ledger = folder / "ledger.txt"
    before = ledger.read_bytes() if ledger.exists() else b""
    saved = pickle.loads((folder / "skygrid-runs" / run / "search.pkl").read_bytes())
    theirs = _by_sklearn(folder)
    ledger.write_bytes(before)
    ours, expected = (
        {
            key: value
            for key, value in search.cv_results_.items()
            if key not in {"mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time"}
        }
        for search in (saved, theirs)
    )
    assert differences(ours, expected) == []
    assert saved.best_params_ == theirs.best_params_
    assert saved.best_index_ == theirs.best_index_
    X = load_search(folder / "search.py").X
    assert saved.predict(X).tobytes() == theirs.predict(X).tobytes()


def test_a_group_is_fitted_once_on_each_split(group: Path) -> None:
    """Each member is scored once, and the largest forest answers all of them."""
    (group / "gate").touch()
    skygrid(group, "run", "search.py", "--name", "r", "--concurrency", "1")
    assert set(_times_scored(group).values()) == {1}
    for split in range(2):
        assert _answered(group, split) == {40: 40, 30: 40, 20: 40, 10: 40}
    assert result(group, "r")["shared"]["run"] == 2
    _assert_same_object(group)


def test_a_large_group_is_fitted_a_few_times(tmp_path: Path) -> None:
    """A large group is divided into 16 parts, with one fit per part and split."""
    (tmp_path / "search.py").write_text(LARGE_SEARCH)
    skygrid(tmp_path, "run", "search.py", "--name", "r", "--concurrency", "2")
    assert result(tmp_path, "r")["shared"]["run"] == 2 * 16
    _assert_same_object(tmp_path)


def test_a_slot_killed_in_mid_group_costs_the_members_not_reported(group: Path) -> None:
    """After kill -9 of the slot reported members stay, and the others are fitted again."""
    command, slot = _held_up(group, "--concurrency", "1")
    os.kill(slot, signal.SIGKILL)
    (group / "gate").touch()
    code, _, err = command.end()
    assert code == 0, err
    scored = _times_scored(group)
    assert {trees: scored[0, trees] for trees in SIZES} == {40: 1, 30: 1, 20: 2, 10: 1}
    assert {trees: scored[1, trees] for trees in SIZES} == dict.fromkeys(SIZES, 1)
    assert _answered(group) == {40: 40, 30: 40, 20: 20, 10: 10}
    assert _answered(group, 1) == {40: 40, 30: 40, 20: 40, 10: 40}
    outcomes = _outcomes(group)
    assert {trees: outcomes[0, trees].attempt for trees in SIZES} == {40: 1, 30: 1, 20: 2, 10: 1}
    _assert_same_object(group)


def test_a_driver_killed_in_mid_group_costs_the_members_not_recorded(group: Path) -> None:
    """After kill -9 of the driver, resume fits the missing members of the group together."""
    command, _ = _held_up(group, "--concurrency", "1")
    family = command.family()
    command.signal(signal.SIGKILL)
    command.end()
    wait_for(lambda: gone(family), "agents and slots end with their driver")
    assert _on_disk(group) == {(0, 40), (0, 30)}
    (group / "gate").touch()
    skygrid(group, "resume", "r", "--concurrency", "1")
    assert result(group, "r")["reused"] == 2
    scored = _times_scored(group)
    assert {trees: scored[0, trees] for trees in SIZES} == {40: 1, 30: 1, 20: 2, 10: 1}
    assert _answered(group) == {40: 40, 30: 40, 20: 20, 10: 20}
    _assert_same_object(group)


def test_an_agent_killed_in_mid_group_costs_the_members_not_recorded(group: Path) -> None:
    """After kill -9 of the agent a new one fits the missing members of the group together."""
    command, _ = _held_up(group, "--concurrency", "1")
    (agent,) = psutil.Process(command.process.pid).children()
    slots = [process for process in agent.children(recursive=True) if process.name() != "sh"]
    agent.kill()
    wait_for(lambda: gone(slots), "slots end with their agent")
    (group / "gate").touch()
    code, _, err = command.end()
    assert code == 0, err
    scored = _times_scored(group)
    assert {trees: scored[0, trees] for trees in SIZES} == {40: 1, 30: 1, 20: 2, 10: 1}
    assert _answered(group) == {40: 40, 30: 40, 20: 20, 10: 20}
    assert _outcomes(group)[0, 20].attempt == 2
    _assert_same_object(group)


def test_an_interrupted_group_is_resumed(group: Path) -> None:
    """Ctrl-C keeps reported members of a group; resume with --no-sharing fits the others."""
    command, _ = _held_up(group, "--concurrency", "1")
    command.signal(signal.SIGINT)
    code, _, err = command.end()
    assert code == 130, err
    (group / "gate").touch()
    skygrid(group, "resume", "r", "--no-sharing")
    assert _answered(group) == {40: 40, 30: 40, 20: 20, 10: 10}
    _assert_same_object(group)


# ---- on two nodes --------------------------------------------------------------------------------

SLOW_SCORES = GROUP_SEARCH.replace("SPLITS = 2", "SPLITS = 3").replace(
    "    while (split, trees) == (0, 20)",
    "    threading.Event().wait(0.7)\n    while (split, trees) == (2, 20)",
)
"""Scoring takes longer than the fit, so dividing the last split between two slots pays."""


def test_a_group_is_split_between_two_nodes(tmp_path: Path) -> None:
    """A node that would idle fits members of the last group, with the same bits."""
    (tmp_path / "search.py").write_text(SLOW_SCORES)
    (tmp_path / "gate").touch()
    options = ("--on", "local", "--nodes", "2", "--concurrency", "1")
    skygrid(tmp_path, "run", "search.py", "--name", "r", *options)
    outcomes = _outcomes(tmp_path)
    assert outcomes.keys() == {(split, trees) for split in range(3) for trees in SIZES}
    assert {one.node for one in outcomes.values()} == {"local-1", "local-2"}
    owners = {split: set(_answered(tmp_path, split).values()) for split in range(3)}
    assert sorted(map(len, owners.values())) == [1, 1, 2], owners
    # Groups that were not divided have no repeated work.
    whole = {split for split, found in owners.items() if len(found) == 1}
    scored = _times_scored(tmp_path)
    assert {scored[split, trees] for split in whole for trees in SIZES} == {1}
    for one in outcomes.values():
        if one.answered_by >= 0:
            answering = outcomes[one.split, [30, 10, 40, 20][one.answered_by]]
            assert (answering.node, answering.slot) == (one.node, one.slot)
    _assert_same_object(tmp_path)


def test_the_part_of_a_group_on_a_killed_node_is_repeated(tmp_path: Path) -> None:
    """After kill -9 of an agent with a part of a group, that part is repeated."""
    (tmp_path / "search.py").write_text(SLOW_SCORES)
    options = ("--on", "local", "--nodes", "2", "--concurrency", "1")
    command = Command(tmp_path, "run", "search.py", "--name", "r", *options)
    wait_for(
        lambda: _times_scored(tmp_path)[2, 20] or command.process.poll() is not None,
        "a part of the last group to stand still",
    )
    assert command.process.poll() is None, command.end()
    slot = next(pid for split, trees, pid in _scored(tmp_path) if (split, trees) == (2, 20))
    agent = psutil.Process(slot).parent()
    assert agent is not None
    agent.kill()
    wait_until(lambda: not psutil.pid_exists(slot), "its slot to end")
    (tmp_path / "gate").touch()
    code, _, err = command.end()
    assert code == 0, err
    outcomes = _outcomes(tmp_path)
    assert outcomes.keys() == {(split, trees) for split in range(3) for trees in SIZES}
    _assert_same_object(tmp_path)


# ---- errors --------------------------------------------------------------------------------------

FAILING = '''
"""The step that all candidates share cannot be fitted."""
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

rng = np.random.RandomState(0)
dataset = (rng.randn(40, 3), np.arange(40) % 2)
before = Pipeline([("scale", StandardScaler()), ("best", SelectKBest(chi2, k=2))])
estimator = Pipeline([("before", before), ("clf", SVC())])
param_grid = [
    {"clf": [RandomForestClassifier(random_state=0)], "clf__n_estimators": [2, 3, 4]},
    {"clf__C": [1, 2]},
    {"before__best": ["passthrough"], "clf__C": [1, 2]},
]
cv = 2
'''


def test_a_prefix_that_fails_is_tried_once_for_each_fit(tmp_path: Path) -> None:
    """A deterministic error is one failed outcome per fit, with scikit-learn's text."""
    (tmp_path / "search.py").write_text(FAILING)
    out, err = skygrid(tmp_path, "run", "search.py", "--name", "r")
    found = result(tmp_path, "r")
    assert found["failed"] == 10
    journal = SqliteJournal(tmp_path / "skygrid-runs" / "r" / "journal.sqlite", read_only=True)
    outcomes = journal.outcomes(0)
    journal.close()
    assert Counter(one.status for one in outcomes) == {"failed": 10, "scored": 4}
    assert {one.attempt for one in outcomes} == {1}
    texts = {one.fit_error for one in outcomes if one.fit_error}
    assert len(texts) == 1
    assert "Input X must be non-negative" in texts.pop()
    assert "Input X must be non-negative" in out
    assert "skygrid/worker" not in err
    _assert_same_object(tmp_path)
