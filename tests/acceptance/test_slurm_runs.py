"""Runs on a real Slurm: scikit-learn's answer, the queue, faults, and no job left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skygrid.config import load_config
from skygrid.errors import ConfigError
from skygrid.listener import SilentListener
from skygrid.nodes.registry import place_of
from skygrid.run.commands import run_search
from tests.acceptance.sameness import differences
from tests.command import (
    GATED_SEARCH,
    SLOW_SEARCH,
    Command,
    gone,
    recorded,
    result,
    skygrid,
    wait_for,
)
from tests.slurm import CPUS, NODES, Slurm, running_slurm

pytestmark = pytest.mark.clusters

SEARCH = """
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

estimator = DecisionTreeClassifier(random_state=0)
param_grid = {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 2]}
dataset = load_iris()
cv = 4
"""

CRASHING = """
import os
import signal
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier


class Tree(DecisionTreeClassifier):
    def fit(self, X, y):
        if self.max_depth == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().fit(X, y)


estimator = Tree(random_state=0)
param_grid = {"max_depth": [1, 2, 3]}
dataset = load_iris()
cv = 2
"""


STARTED: list[Command] = []


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    """Yield a Slurm of three nodes, which this process and its children use."""
    with running_slurm() as slurm:
        os.environ["SLURM_CONF"] = str(slurm.conf)
        yield slurm
        del os.environ["SLURM_CONF"]


@pytest.fixture
def slurm(cluster: Slurm) -> Iterator[Slurm]:
    """Yield the cluster; fail if a test leaves a job."""
    yield cluster
    left = cluster.jobs()
    while STARTED:
        STARTED.pop().process.kill()  # of a test that failed
    cluster.ask("scancel", "--user=root")
    wait_for(lambda: not cluster.jobs(), "no job is left")
    assert not [job for job in left if "COMPLETING" not in job]


def _folder(folder: Path, search: str, table: str = "", concurrency: int = 1) -> Path:
    (folder / "search.py").write_text(search)
    (folder / "own.toml").write_text(
        f'on = "slurm"\nconcurrency = {concurrency}\n[slurm]\nstop_timeout = 5\n{table}\n'
    )
    return folder


def _run(folder: Path, *options: str) -> Command:
    command = Command(
        folder, "run", "search.py", "--config", "own.toml", "--name", "r", "-v", *options
    )
    STARTED.append(command)
    return command


def _started(folder: Path, at_least: int, *options: str) -> Command:
    command = _run(folder, *options)
    wait_for(
        lambda: recorded(folder, "r") >= at_least or command.process.poll() is not None,
        f"{at_least} recorded fits",
    )
    assert command.process.poll() is None, command.end()
    return command


def _ours(slurm: Slurm) -> list[str]:
    return [job for job in slurm.jobs() if job.startswith("skygrid-") and "COMPLETING" not in job]


def _full(slurm: Slurm) -> subprocess.Popen[bytes]:
    """Fill all nodes with another job."""
    words = ["srun", f"-N{NODES}", f"-n{NODES}", f"-c{CPUS}", "--exclusive", "-Jother", "-Q"]
    job = subprocess.Popen([*words, "sleep", "1000"], env=slurm.environment())
    wait_for(lambda: any(line.startswith("other RUNNING") for line in slurm.jobs()), "a full house")
    return job


def test_a_search_on_slurm_has_scikit_learns_scores(slurm: Slurm, tmp_path: Path) -> None:
    """Three jobs, with data in a shared folder, give scikit-learn's scores bit for bit."""
    folder = _folder(tmp_path, SEARCH, f'shared_folder = "{tmp_path}/shared"')
    X, y = load_iris(return_X_y=True)
    grid = {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 2]}
    expected = GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=4).fit(X, y)
    said = {"nodes": 3, "min_nodes": 3, "runs_dir": folder / "runs"}
    config = load_config(said, os.environ, config_file=folder / "own.toml", cwd=folder)
    run = run_search(folder / "search.py", config, SilentListener())
    assert not differences(run.search.cv_results_, expected.cv_results_)
    assert {node.name for node in run.summary.nodes} == {"slurm-1", "slurm-2", "slurm-3"}
    assert not list((tmp_path / "shared").glob("*"))
    assert not _ours(slurm)


def test_large_data_goes_through_the_shared_folder(slurm: Slurm, tmp_path: Path) -> None:
    """With a shared folder data is written there once, and removed at the end."""
    large = SEARCH.replace(
        "dataset = load_iris()",
        "import numpy as np\nX, y = load_iris(return_X_y=True)\n"
        "dataset = (np.hstack([X, np.zeros((len(X), 3000))]), y)",
    ).replace('"max_depth"', '"max_features": [4], "max_depth"')
    folder = _folder(tmp_path, large, f'shared_folder = "{tmp_path}/shared"')
    out, err = skygrid(folder, "run", "search.py", "--config", "own.toml", "--name", "r")
    assert "24 fits" in out, err
    shared = (tmp_path / "shared").stat()
    assert shared.st_nlink == 2  # it was made, and its folder of the run is gone


def test_a_queued_node_shows_its_position_and_ctrl_c_cancels_it(
    slurm: Slurm, tmp_path: Path
) -> None:
    """While the cluster is full the state names position and reason; Ctrl-C empties the queue."""
    other = _full(slurm)
    folder = _folder(tmp_path, SLOW_SEARCH)
    command = _run(folder, "--nodes", "2")
    line = command.wait_for_line("queued")
    assert re.search(r"slurm-[12]: queued [12] of 2, (Resources|Priority)", line)
    assert len(_ours(slurm)) == 2
    command.signal(signal.SIGINT)
    code, _, err = command.end()
    assert code == 130, err
    assert not _ours(slurm)
    other.send_signal(signal.SIGTERM)
    other.wait()


def test_nodes_join_when_slurm_starts_them(slurm: Slurm, tmp_path: Path) -> None:
    """A run starts on the first job; the job of another node joins later."""
    words = ["srun", "-N2", "-n2", f"-c{CPUS}", "--exclusive", "-Jother", "-Q", "sleep", "1000"]
    other = subprocess.Popen(words, env=slurm.environment())
    wait_for(lambda: any(line.startswith("other RUNNING") for line in slurm.jobs()), "a busy pair")
    folder = _folder(tmp_path, GATED_SEARCH, concurrency=CPUS)
    command = _started(folder, 1, "--nodes", "2")
    assert any("PENDING" in job for job in _ours(slurm))
    other.send_signal(signal.SIGTERM)
    other.wait()
    command.wait_for_line("slurm-2: working")
    (folder / "go").touch()
    code, _, err = command.end()
    assert code == 0, err
    assert {node["name"] for node in result(folder, "r")["nodes"]} == {"slurm-1", "slurm-2"}


def test_ctrl_c_cancels_running_jobs(slurm: Slurm, tmp_path: Path) -> None:
    """Ctrl-C during the search keeps its fits and leaves no job; resume continues on Slurm."""
    folder = _folder(tmp_path, GATED_SEARCH)
    command = _started(folder, 1, "--nodes", "2")
    command.signal(signal.SIGINT)
    (folder / "go").touch()
    code, _, err = command.end()
    assert code == 130, err
    assert not _ours(slurm)
    before = recorded(folder, "r")
    skygrid(folder, "resume", "r")
    assert result(folder, "r")["reused"] == before


def test_a_killed_driver_leaves_no_job(slurm: Slurm, tmp_path: Path) -> None:
    """After kill -9 of the driver its jobs end; the run is finished on this machine."""
    folder = _folder(tmp_path, GATED_SEARCH)
    command = _started(folder, 1, "--nodes", "2")
    family = command.family()
    command.signal(signal.SIGKILL)
    (folder / "go").touch()
    command.end()
    wait_for(lambda: gone(family) and not _ours(slurm), "the jobs end with their driver")
    before = recorded(folder, "r")
    skygrid(folder, "resume", "r", "--on", "local")
    assert result(folder, "r")["reused"] == before


def test_a_killed_login_node_leaves_no_job_longer_than_the_lease(
    slurm: Slurm, tmp_path: Path
) -> None:
    """When driver and srun are killed at once, the agents miss their driver and cancel the jobs."""
    folder = _folder(tmp_path, GATED_SEARCH, "orphan_after = 30")
    command = _started(folder, 1)
    family = command.family()
    command.signal(signal.SIGKILL)
    for process in family:
        process.kill()
    command.end()
    assert _ours(slurm)
    wait_for(lambda: not _ours(slurm), "the job to be cancelled by its agent")


def test_a_killed_agent_is_another_job(slurm: Slurm, tmp_path: Path) -> None:
    """kill -9 of an agent loses its running fit; another job takes its place."""
    folder = _folder(tmp_path, GATED_SEARCH)
    command = _started(folder, 1)
    _agents()[0].kill()
    (folder / "go").touch()
    code, _, err = command.end()
    assert code == 0, err
    assert "slurm-2 takes the place of slurm-1" in err


def _agents() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "--departures" in (process.info["cmdline"] or []) and process.parent().name() == "sh"  # type: ignore[union-attr]
    ]


def test_a_cancelled_job_is_a_notice(slurm: Slurm, tmp_path: Path) -> None:
    """A job that Slurm ends gives its running fits time, as at a preemption."""
    folder = _folder(tmp_path, GATED_SEARCH)
    command = _started(folder, 1)
    (job,) = slurm.ask("squeue", "-h", "-o", "%i").split()
    slurm.ask("scancel", job)
    command.wait_for_line("slurm-1: leaving")
    (folder / "go").touch()
    code, _, err = command.end()
    assert code == 0, err
    assert result(folder, "r")["retries"] == 0


def test_the_time_limit_of_a_job_is_a_notice(slurm: Slurm, tmp_path: Path) -> None:
    """Before its time limit an agent takes no more fits, and another job is queued."""
    slow = SLOW_SEARCH.replace("seconds=0.1", "seconds=2.0")
    folder = _folder(tmp_path, slow, 'time = "1"')
    command = _run(folder, "--concurrency", "2")
    code, _, err = command.end(seconds=250)
    assert code == 0, err
    assert "slurm-1: leaving" in err
    assert "slurm-2 takes the place of slurm-1" in err
    assert result(folder, "r")["retries"] == 0


def test_a_fit_that_crashes_ends_no_job(slurm: Slurm, tmp_path: Path) -> None:
    """A candidate that kills its slot is a failed fit, and the job goes on."""
    folder = _folder(tmp_path, CRASHING)
    skygrid(folder, "run", "search.py", "--config", "own.toml", "--name", "r", "--retries", "0")
    document = result(folder, "r")
    assert [score is None for score in document["cv_results"]["mean_test_score"]] == [
        False, True, False,
    ]  # fmt: skip
    assert len(document["nodes"]) == 1


def test_an_allocation_is_used_by_its_nodes(slurm: Slurm, tmp_path: Path) -> None:
    """Inside salloc a run has one agent on each node of the allocation, and submits no job."""
    folder = _folder(tmp_path, SEARCH)
    (folder / "own.toml").write_text('on = "slurm"\n')
    words = ["salloc", "-Q", "-N2", "-c2", "skygrid", "run", "search.py", "--config", "own.toml"]
    path = f"{Path(os.__file__).parents[2] / 'bin'}:{os.environ['PATH']}"
    path = f"{Path(psutil.__file__).parents[4] / 'bin'}:{path}"
    done = subprocess.run(
        [*words, "--name", "r"],
        cwd=folder,
        env={**slurm.environment(), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    nodes = result(folder, "r")["nodes"]
    assert {node["name"] for node in nodes} <= {"slurm-1", "slurm-2"}
    assert {node["slots"] for node in nodes} == {2}


@pytest.mark.parametrize(
    ("table", "options", "reason"),
    [
        ('partition = "nope"', (), "Slurm refuses the jobs of this run: .*Invalid partition"),
        ("", ("--concurrency", "99"), "Requested node configuration is not available"),
        ('constraint = "gpu"', (), "Slurm refuses the jobs of this run: .*Invalid feature"),
        ('extra = ["--no-such-option"]', (), "no-such-option"),
        ('partition = "short"\ntime = "10"', (), r"never start its job \(PartitionTimeLimit\)"),
    ],
)
def test_a_request_that_cannot_be_granted_is_one_message(
    slurm: Slurm, tmp_path: Path, table: str, options: tuple[str, ...], reason: str
) -> None:
    """A request that Slurm refuses, or would never grant, ends with exit 3 and an empty queue."""
    folder = _folder(tmp_path, SEARCH, table)
    _, err = skygrid(
        folder, "run", "search.py", "--config", "own.toml", "--quiet", *options, expect=3
    )
    assert re.search(reason, err), err
    assert not _ours(slurm)


def test_the_doctor_asks_slurm(slurm: Slurm, tmp_path: Path) -> None:
    """The doctor names Slurm's version and when a job would start, and submits none."""
    folder = _folder(tmp_path, SEARCH)
    out, _ = skygrid(folder, "doctor", "--config", "own.toml")
    assert "slurm-wlm" in out
    assert "to start at" in out
    _folder(tmp_path, SEARCH, 'partition = "nope"')
    out, _ = skygrid(folder, "doctor", "--config", "own.toml", expect=3)
    assert "Invalid partition" in json.dumps(out)


def test_a_job_without_cpus_is_refused(slurm: Slurm, tmp_path: Path) -> None:
    """On a login node a run has to say how many CPUs a job gets."""
    config = load_config({"on": "slurm"}, {}, cwd=tmp_path)
    with pytest.raises(ConfigError, match="needs concurrency, the CPUs of each job"):
        place_of(config)
