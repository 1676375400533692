"""The contract of nodes, on every place: real clusters on this machine, killed for real."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skygrid.config import load_config
from skygrid.listener import SilentListener
from skygrid.run.commands import run_search
from tests.acceptance.sameness import differences
from tests.clusters.beds import BEDS, Bed, agents
from tests.command import GATED_SEARCH, SLOW_SEARCH, Command, recorded, result, skygrid, wait_for

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(900)]

LONG = 400.0
"""Seconds for a command: a cluster starts slowly on a busy machine."""

SEARCH = """
from beside import depths
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

estimator = DecisionTreeClassifier(random_state=0)
param_grid = {"max_depth": depths()}
dataset = load_iris()
cv = 4
"""

SEGFAULTING = SLOW_SEARCH.replace(
    "time.sleep(self.seconds)",
    "os.kill(os.getpid(), 11) if self.shift == 0.2 else time.sleep(self.seconds)",
)


LARGE = """
import numpy as np
from sklearn.naive_bayes import GaussianNB

X = np.random.RandomState(0).randn(10_000, 100)
estimator = GaussianNB()
param_grid = {"var_smoothing": [1e-9, 1e-8]}
dataset = (X, (X[:, 0] > 0).astype(int))
cv = 3
"""


@pytest.fixture(scope="module", params=BEDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return the name of a place; all its tests run one after the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def shared_bed(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Return a cluster that tests share if they leave it as it was."""
    yield from _opened(kind, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def bed(kind: str, tmp_path: Path) -> Iterator[Bed]:
    """Return a cluster of the test's own."""
    (tmp_path / "bed").mkdir()
    yield from _opened(kind, tmp_path / "bed")


_commands: list[Command] = []
"""Commands that the current test has started."""


@pytest.fixture(autouse=True)
def ended_commands() -> Iterator[None]:
    """Kill the commands of a test that failed: their agents would end other tests late."""
    yield
    _end_commands()


def _end_commands() -> None:
    while _commands:
        command = _commands.pop()
        if command.process.poll() is None:
            command.signal(signal.SIGKILL)
            command.end()


def _opened(kind: str, folder: Path) -> Iterator[Bed]:
    before = os.environ.get("SKYGRID_TEST_BED")
    os.environ["SKYGRID_TEST_BED"] = uuid.uuid4().hex
    bed = BEDS[kind](folder)
    try:
        yield bed
        _end_commands()
        wait_for(lambda: not agents(), "all agents to end", LONG)
    finally:
        bed.close()
        if before is None:
            del os.environ["SKYGRID_TEST_BED"]
        else:
            os.environ["SKYGRID_TEST_BED"] = before


def _folder(folder: Path, bed: Bed, search: str, nodes: int = 1, concurrency: int = 2) -> Path:
    (folder / "search.py").write_text(search)
    (folder / "beside.py").write_text("def depths():\n    return [1, 2, 3]\n")
    head = f"nodes = {nodes}\nconcurrency = {concurrency}\n"
    (folder / "own.toml").write_text(head + bed.config)
    return folder


def _command(folder: Path) -> Command:
    command = Command(folder, "run", "search.py", "--config", "own.toml", "--name", "r", "-v")
    _commands.append(command)
    return command


def _started(folder: Path) -> Command:
    """Start a run and wait until its first fit is recorded; most others wait for a file."""
    command = _command(folder)
    wait_for(
        lambda: recorded(folder, "r") or command.process.poll() is not None,
        "a recorded fit",
        LONG,
    )
    assert command.process.poll() is None, command.end()
    return command


def _tracebacks(err: str) -> list[str]:
    """Return the lines that begin a traceback, but those of Ray's own log."""
    lines = err.splitlines()
    return [line for line in lines if "Traceback" in line and " Ray: " not in line]


def _nothing_left(bed: Bed) -> None:
    wait_for(lambda: not agents(), "all agents to end", LONG)
    wait_for(lambda: not bed.left(), "the cluster to be as before", LONG)


def test_scores_are_scikit_learns(shared_bed: Bed, tmp_path: Path) -> None:
    """Two nodes give scikit-learn's own results, bit for bit, and nothing is left."""
    folder = _folder(tmp_path, shared_bed, SEARCH, nodes=2)
    X, y = load_iris(return_X_y=True)
    tree = DecisionTreeClassifier(random_state=0)
    expected = GridSearchCV(tree, {"max_depth": [1, 2, 3]}, cv=4).fit(X, y)
    if shared_bed.nodes_at_first < 2:
        shared_bed.grow()

    said = {"min_nodes": 2, "runs_dir": folder / "runs", "name": "r"}
    config = load_config(said, os.environ, config_file=folder / "own.toml", cwd=folder)
    run = run_search(folder / "search.py", config, SilentListener())

    assert not differences(run.search.cv_results_, expected.cv_results_)
    assert {node.name for node in run.summary.nodes} == {
        f"{shared_bed.name}-1",
        f"{shared_bed.name}-2",
    }
    _nothing_left(shared_bed)


def test_data_reaches_a_node_without_its_channel(shared_bed: Bed, tmp_path: Path) -> None:
    """X is brought by the cluster, once for each node; the driver sends it to none."""
    if not shared_bed.brings_data:
        pytest.skip("the place has no way of its own for data")
    folder = _folder(tmp_path, shared_bed, LARGE, nodes=1)
    skygrid(folder, "run", "search.py", "--config", "own.toml", "--name", "r", "-vv", seconds=LONG)
    log = (folder / "skygrid-runs" / "r" / "logs" / "driver.log").read_text()
    answers = re.findall(r"-1 has (\d+) of (\d+) bytes of the data", log)
    assert len(answers) == 1
    assert answers[0][0] == answers[0][1]
    assert int(answers[0][1]) > 8_000_000
    _nothing_left(shared_bed)


def test_a_late_node_joins(bed: Bed, tmp_path: Path) -> None:
    """Fits start on the first node, and a node that the cluster starts later takes its share."""
    if not bed.grows:
        pytest.skip("all nodes start at once")
    folder = _folder(tmp_path, bed, GATED_SEARCH, nodes=2, concurrency=4)
    command = _started(folder)
    assert len(agents()) == 1
    bed.grow()
    log = folder / "skygrid-runs" / "r" / "logs"
    wait_for(
        lambda: all(
            f"{bed.name}-{number}: working" in path.read_text()
            for path in log.glob("driver.log")
            for number in (1, 2)
        ),
        "both nodes to work",
        LONG,
    )
    (folder / "go").touch()
    code, _, err = command.end(LONG)
    assert code == 0, err
    nodes = {node["name"]: node for node in result(folder, "r")["nodes"]}
    assert set(nodes) == {f"{bed.name}-1", f"{bed.name}-2"}


def test_a_lost_node_is_replaced(shared_bed: Bed, tmp_path: Path) -> None:
    """kill -9 of a node costs its running fits; another node finishes the search."""
    folder = _folder(tmp_path, shared_bed, GATED_SEARCH)
    command = _started(folder)
    (agent,) = agents()
    shared_bed.lose(agent)
    (folder / "go").touch()
    code, _, err = command.end(LONG)
    assert code == 0, err
    assert f"{shared_bed.name}-1 is lost" in err
    assert not _tracebacks(err)
    _nothing_left(shared_bed)


def test_a_fit_that_kills_its_process_harms_no_node(shared_bed: Bed, tmp_path: Path) -> None:
    """A candidate with a segmentation fault is scored nan; its node works on."""
    folder = _folder(tmp_path, shared_bed, SEGFAULTING)
    _, err = skygrid(
        folder, "run", "search.py", "--config", "own.toml", "--name", "r", seconds=LONG
    )
    document = result(folder, "r")
    scores = document["cv_results"]["mean_test_score"]
    assert sum(score is None for score in scores) == 1
    assert "is lost" not in err
    _nothing_left(shared_bed)


@pytest.mark.parametrize("phase", ["starting", "searching"])
def test_ctrl_c_leaves_nothing(shared_bed: Bed, tmp_path: Path, phase: str) -> None:
    """Ctrl-C ends the run with 130 in each phase, and the cluster is as before."""
    folder = _folder(tmp_path, shared_bed, GATED_SEARCH)
    if phase == "starting":
        command = _command(folder)
        command.wait_for_line(f"{shared_bed.name}-1: starting")
    else:
        command = _started(folder)
    command.signal(signal.SIGINT)
    code, _, err = command.end(LONG)
    assert code == 130, err
    assert not _tracebacks(err)
    _nothing_left(shared_bed)


def test_another_place_finishes_the_run_of_a_killed_driver(shared_bed: Bed, tmp_path: Path) -> None:
    """kill -9 of the driver leaves nothing on the cluster; `resume --on local` fits the rest."""
    folder = _folder(tmp_path, shared_bed, GATED_SEARCH)
    command = _started(folder)
    command.signal(signal.SIGKILL)
    command.end(LONG)
    _nothing_left(shared_bed)
    before = recorded(folder, "r")
    (folder / "go").touch()
    skygrid(folder, "resume", "r", "--on", "local", "--nodes", "1", seconds=LONG)
    document = result(folder, "r")
    assert document["reused"] == before
    assert {node["name"] for node in document["nodes"]} == {f"{shared_bed.name}-1", "local-1"}


def test_the_loss_of_all_nodes_is_exit_3(bed: Bed, tmp_path: Path) -> None:
    """When no node can be had any more, the run ends with 3, keeps its fits, and is resumed."""
    if not bed.ends:
        pytest.skip("the place can always start an agent")
    folder = _folder(tmp_path, bed, GATED_SEARCH)
    command = _started(folder)
    bed.lose_all()
    code, _, err = command.end(LONG)
    assert code == 3, err
    assert not _tracebacks(err)
    assert "skygrid resume r" in err
    before = recorded(folder, "r")
    (folder / "go").touch()
    skygrid(folder, "resume", "r", "--on", "local", seconds=LONG)
    assert result(folder, "r")["reused"] == before


def test_the_doctor_starts_a_node_and_ends_it(shared_bed: Bed, tmp_path: Path) -> None:
    """The doctor reports the versions and slots of a node, and leaves nothing."""
    if not shared_bed.doctor_starts_a_node:
        pytest.skip("the doctor examines the place without a node")
    folder = _folder(tmp_path, shared_bed, SEARCH)
    out, _ = skygrid(folder, "doctor", "--config", "own.toml", seconds=LONG)
    assert "an agent of 2 slots started in" in out
    _nothing_left(shared_bed)
