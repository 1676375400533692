"""Runs on nodes that a command starts: scikit-learn's answer, faults, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skygrid.config import load_config
from skygrid.errors import HandshakeError
from skygrid.listener import SilentListener
from skygrid.run.commands import run_search
from tests.acceptance.sameness import differences
from tests.command import SLOW_SEARCH, Command, gone, recorded, result, skygrid, wait_for
from tests.processes import leaving_nothing

SEARCH = """
from beside import depths
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

estimator = DecisionTreeClassifier(random_state=0)
param_grid = {"max_depth": depths()}
dataset = load_iris()
cv = 4
"""

PLACE = """
on = "command"
concurrency = 1
[command]
start = {start}
python = {python}
stop_timeout = 3
"""


def _folder(folder: Path, search: str, start: str = "{agent}") -> Path:
    (folder / "search.py").write_text(search)
    (folder / "beside.py").write_text("def depths():\n    return [1, 2, 3]\n")
    # json.dumps: TOML's basic strings are JSON's.
    text = PLACE.format(start=json.dumps(start), python=json.dumps(sys.executable))
    (folder / "own.toml").write_text(text)
    return folder


def test_a_search_on_commands_has_scikit_learns_scores(tmp_path: Path) -> None:
    """Two nodes that get skygrid's code through their commands give scikit-learn's scores."""
    folder = _folder(tmp_path, SEARCH, "echo a banner of {node}; nice {agent}")
    X, y = load_iris(return_X_y=True)
    tree = DecisionTreeClassifier(random_state=0)
    expected = GridSearchCV(tree, {"max_depth": [1, 2, 3]}, cv=4).fit(X, y)

    said = {"nodes": 2, "min_nodes": 2, "runs_dir": folder / "runs", "name": "r"}
    config = load_config(said, os.environ, config_file=folder / "own.toml", cwd=folder)
    with leaving_nothing():
        run = run_search(folder / "search.py", config, SilentListener())

    assert not differences(run.search.cv_results_, expected.cv_results_)
    assert {node.name for node in run.summary.nodes} == {"command-1", "command-2"}
    record = json.loads((run.folder / "run.json").read_text())
    assert record["config"]["command"]["start"] == "echo a banner of {node}; nice {agent}"


def test_other_versions_on_a_node_are_named_before_a_fit(tmp_path: Path) -> None:
    """A node with another scikit-learn than the driver's ends the run with both versions."""
    other = tmp_path / "packages" / "scikit_learn-1.2.3.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: scikit-learn\nVersion: 1.2.3\n")
    folder = _folder(tmp_path, SEARCH, f"PYTHONPATH={tmp_path}/packages {{agent}}")
    config = load_config(
        {"runs_dir": folder / "runs"}, os.environ, config_file=folder / "own.toml", cwd=folder
    )
    with leaving_nothing(), pytest.raises(HandshakeError, match=r"scikit-learn 1\.2\.3 there"):
        run_search(folder / "search.py", config, SilentListener())


def _started(folder: Path, at_least: int) -> Command:
    command = Command(folder, "run", "search.py", "--config", "own.toml", "--name", "r")
    wait_for(
        lambda: recorded(folder, "r") >= at_least or command.process.poll() is not None,
        f"{at_least} recorded fits",
    )
    assert command.process.poll() is None, command.end()
    return command


@pytest.mark.faults
def test_a_run_of_a_killed_driver_is_finished_on_this_machine(tmp_path: Path) -> None:
    """kill -9 of the driver ends its commands, and `resume --on local` fits only the rest."""
    folder = _folder(tmp_path, SLOW_SEARCH)
    command = _started(folder, 6)
    family = command.family()
    command.signal(signal.SIGKILL)
    command.end()
    wait_for(lambda: gone(family), "the commands end with their driver")
    before = recorded(folder, "r")
    skygrid(folder, "resume", "r", "--on", "local")
    document = result(folder, "r")
    assert document["reused"] == before
    assert {node["name"] for node in document["nodes"]} == {"command-1", "local-1"}


@pytest.mark.faults
def test_a_run_of_this_machine_is_finished_on_commands(tmp_path: Path) -> None:
    """`resume --config` takes an interrupted run to the place that the file describes."""
    folder = _folder(tmp_path, SLOW_SEARCH)
    command = Command(folder, "run", "search.py", "--name", "r")
    wait_for(lambda: recorded(folder, "r") >= 4, "some fits")
    command.signal(signal.SIGINT)
    assert command.end()[0] == 130
    skygrid(folder, "resume", "r", "--config", "own.toml")
    assert {node["name"] for node in result(folder, "r")["nodes"]} == {"command-1", "local-1"}


@pytest.mark.faults
def test_a_killed_node_is_started_again(tmp_path: Path) -> None:
    """kill -9 of an agent in the middle costs its running fit; the command is run again."""
    folder = _folder(tmp_path, SLOW_SEARCH, "echo started >> starts.txt; {agent}; exit $?")
    command = _started(folder, 4)
    (shell,) = psutil.Process(command.process.pid).children()
    shell.children()[0].kill()
    code, _, err = command.end()
    assert code == 0, err
    assert "exit code 137" in err
    assert (folder / "starts.txt").read_text() == "started\n" * 2


@pytest.mark.faults
def test_all_nodes_lost_is_exit_3_and_can_be_resumed(tmp_path: Path) -> None:
    """When the command works no longer, the run ends with its last words and keeps its fits."""
    folder = _folder(tmp_path, SLOW_SEARCH, "test ! -e full || { cat full >&2; exit 9; }; {agent}")
    command = _started(folder, 4)
    (folder / "full").write_text("no room in the cluster\n")
    for process in command.family():
        process.kill()
    code, _, err = command.end()
    assert code == 3
    assert "exit code 9" in err
    assert err.count("no room in the cluster") >= 1
    assert "skygrid resume r" in err
    (folder / "full").unlink()
    before = recorded(folder, "r")
    skygrid(folder, "resume", "r")
    assert result(folder, "r")["reused"] == before


@pytest.mark.faults
@pytest.mark.parametrize("phase", ["starting", "searching"])
def test_ctrl_c_ends_every_command(tmp_path: Path, phase: str) -> None:
    """Ctrl-C ends commands that have not answered and those that work, and exits with 130."""
    start = "touch begun; exec sleep 1000; : {agent}" if phase == "starting" else "{agent}"
    folder = _folder(tmp_path, SLOW_SEARCH, start)
    if phase == "starting":
        command = Command(folder, "run", "search.py", "--config", "own.toml", "--name", "r")
        wait_for((folder / "begun").exists, "the command to run")
    else:
        command = _started(folder, 4)
    family = wait_for(command.family, "a child")
    command.signal(signal.SIGINT)
    code, _, err = command.end()
    assert code == 130, err
    assert "Traceback" not in err
    wait_for(lambda: gone(family), "everything to end")


def test_the_doctor_starts_a_node_and_ends_it(tmp_path: Path) -> None:
    """The doctor reports versions and CPUs of one node, and the last lines of a broken command."""
    folder = _folder(tmp_path, SEARCH)
    with leaving_nothing():
        out, _ = skygrid(folder, "doctor", "--config", "own.toml")
    assert "an agent of 1 slots started in" in out
    _folder(tmp_path, SEARCH, "echo no such image >&2; exit 125; {agent}")
    out, err = skygrid(folder, "doctor", "--config", "own.toml", expect=3)
    assert "no such image" in out
    assert "there is trouble with command-1" in err
