"""Faults that a run survives: signals, kills, crashes, other writers. Each test causes them."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skygrid.search_file import load_search
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

pytestmark = pytest.mark.faults


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """Write a search of 40 fits that each append a line to a file."""
    (tmp_path / "search.py").write_text(SLOW_SEARCH)
    return tmp_path


def _ledger(folder: Path) -> Counter[str]:
    path = folder / "ledger.txt"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def _same_as_sklearn(folder: Path, run: str) -> None:
    """Check that the run's scores are those of `GridSearchCV.fit`, without the sleeping."""
    spec = load_search(folder / "search.py")
    search: Any = clone(spec.search)
    assert isinstance(search, GridSearchCV)
    search.set_params(estimator__seconds=0.0).fit(spec.X, spec.y)
    document = result(folder, run)["cv_results"]
    for name, column in search.cv_results_.items():
        if "test" in name:
            assert document[name] == column.tolist(), name


def _started(folder: Path, at_least: int, *options: str) -> Command:
    command = Command(folder, "run", "search.py", "--name", "r", *options)
    wait_for(
        lambda: recorded(folder, "r") >= at_least or command.process.poll() is not None,
        f"{at_least} recorded fits",
    )
    assert command.process.poll() is None, command.end()
    return command


def test_a_killed_driver_costs_only_the_fits_in_flight(slow: Path) -> None:
    """After kill -9 of the driver no process is left, and resume fits only what is missing."""
    command = _started(slow, 6)
    family = command.family()
    command.signal(signal.SIGKILL)
    command.end()
    wait_for(lambda: gone(family), "agents and slots end with their driver")
    before, done = recorded(slow, "r"), _ledger(slow)
    assert 6 <= before < 40
    out, _ = skygrid(slow, "runs", "--json")
    assert json.loads(out)["runs"][0]["state"] == "interrupted"
    skygrid(slow, "resume", "r")
    assert result(slow, "r")["reused"] == before
    again = _ledger(slow) - done
    assert sum(again.values()) == 40 - before + 1  # plus the refit
    _same_as_sklearn(slow, "r")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_records_tears_down_and_says_how_to_resume(
    slow: Path, number: signal.Signals
) -> None:
    """The first Ctrl-C keeps recorded fits, ends every process and exits with 130."""
    command = _started(slow, 4)
    family = command.family()
    command.signal(number)
    code, out, err = command.end()
    assert (code, out) == (128 + number, "")
    assert "skygrid resume r" in err
    assert "Traceback" not in err
    wait_for(lambda: gone(family), "agents and slots are gone")
    before = recorded(slow, "r")
    skygrid(slow, "resume", "r")
    assert result(slow, "r")["reused"] == before
    _same_as_sklearn(slow, "r")


def test_the_second_signal_ends_at_once(tmp_path: Path) -> None:
    """A second Ctrl-C does not wait for running fits."""
    (tmp_path / "search.py").write_text(SLOW_SEARCH.replace("seconds=0.1", "seconds=300"))
    command = Command(tmp_path, "run", "search.py", "--name", "r")
    wait_for(lambda: len(command.family()) >= 2 and _busy(command), "slots run", seconds=60)
    family = command.family()
    command.signal(signal.SIGINT)
    command.signal(signal.SIGINT)
    code, _, err = command.end()
    assert code == 130
    assert "skygrid resume r" in err
    wait_for(lambda: gone(family), "agents and slots are gone")


def _busy(command: Command) -> bool:
    """Return whether the agent has forked its slots."""
    return any(process.children() for process in psutil.Process(command.process.pid).children())


def test_a_killed_agent_is_replaced(slow: Path) -> None:
    """kill -9 of the agent costs only running fits, and the run ends well."""
    command = _started(slow, 4)
    (agent,) = psutil.Process(command.process.pid).children()
    slots = agent.children(recursive=True)
    agent.kill()
    wait_for(lambda: gone(slots), "slots end with their agent")
    code, _, err = command.end()
    assert code == 0, err
    # Fits that were running at the kill are repeated, and so are outcomes not yet recorded.
    assert sum(_ledger(slow).values()) <= 41 + 8
    _same_as_sklearn(slow, "r")


def test_a_killed_slot_is_replaced_and_its_fit_run_again(slow: Path) -> None:
    """kill -9 of a slot costs its fit, which is repeated."""
    command = _started(slow, 4)
    (agent,) = psutil.Process(command.process.pid).children()
    agent.children()[0].kill()
    code, _, err = command.end()
    assert code == 0, err
    _same_as_sklearn(slow, "r")


def test_a_candidate_that_segfaults_is_one_failed_candidate(tmp_path: Path) -> None:
    """A crash of the interpreter in one candidate leaves NaN there and all other scores right."""
    crash = "import ctypes\n        if self.shift == 0.2: ctypes.string_at(0)"
    (tmp_path / "search.py").write_text(SLOW_SEARCH.replace("time.sleep(self.seconds)", crash))
    _, err = skygrid(tmp_path, "run", "search.py", "--name", "r", "--retries", "1")
    found = result(tmp_path, "r")
    assert found["killed"] == 4
    means = found["cv_results"]["mean_test_score"]
    shifts = found["cv_results"]["param_shift"]
    assert [shift for shift, mean in zip(shifts, means, strict=True) if mean is None] == [0.2]
    assert "SIGSEGV" in err


def test_a_candidate_that_never_returns_is_cut_off(tmp_path: Path) -> None:
    """--fit-timeout ends a fit that hangs, and the run completes."""
    hang = "time.sleep(3600 if self.shift == 0.2 and len(X) < 60 else 0)"
    (tmp_path / "search.py").write_text(SLOW_SEARCH.replace("time.sleep(self.seconds)", hang))
    _, err = skygrid(
        tmp_path, "run", "search.py", "--name", "r", "--fit-timeout", "0.5", "--retries", "0"
    )
    assert result(tmp_path, "r")["killed"] == 4
    assert "timed out after 0.5 s" in err


def test_a_candidate_that_takes_all_memory_is_cut_off(tmp_path: Path) -> None:
    """A fit that allocates without end is killed, and the message names the memory."""
    grow = (
        "\n        if self.shift == 0.2 and len(X) < 60:\n"
        "            kept = []\n"
        "            while True:\n"
        "                kept.append(np.ones(4_000_000))\n"
        "                time.sleep(0.02)\n"
    )
    (tmp_path / "search.py").write_text(SLOW_SEARCH.replace("time.sleep(self.seconds)", grow))
    (tmp_path / "skygrid.toml").write_text("memory_limit_gb = 1.0\nretries = 0\n")
    _, err = skygrid(tmp_path, "run", "search.py", "--name", "r")
    assert result(tmp_path, "r")["killed"] == 4
    assert "memory" in err


def test_a_second_driver_of_the_same_run_is_refused(slow: Path) -> None:
    """`resume` of a running run is refused and does not disturb it."""
    (slow / "search.py").write_text(GATED_SEARCH)
    command = _started(slow, 1)
    _, err = skygrid(slow, "resume", "r", expect=None)
    assert f"process {command.process.pid}" in err
    (slow / "go").touch()
    code, _, _ = command.end()
    assert code == 0
    _same_as_sklearn(slow, "r")


def test_a_changed_search_is_not_mixed_with_recorded_fits(slow: Path) -> None:
    """`resume` after a change of the data exits with 2 and names it; a comment changes nothing."""
    command = _started(slow, 2)
    command.signal(signal.SIGINT)
    command.end()
    path = slow / "search.py"
    path.write_text(path.read_text().replace("0.3 * rng", "0.4 * rng"))
    _, err = skygrid(slow, "resume", "r", expect=2)
    assert "y" in err.split("error:")[1]
    path.write_text("# a comment changes nothing\n" + path.read_text().replace("0.4 *", "0.3 *"))
    skygrid(slow, "resume", "r")
    _same_as_sklearn(slow, "r")


def test_a_search_without_seeds_is_resumed_as_it_was_drawn(slow: Path) -> None:
    """Randomly drawn splits and candidates are kept by resume."""
    path = slow / "search.py"
    path.write_text(
        path.read_text().replace(
            "cv = 4",
            "from sklearn.model_selection import KFold\n"
            "from scipy.stats import uniform\n"
            "cv = KFold(4, shuffle=True)\n"
            "n_iter = 10\n"
            'param_distributions = {"shift": uniform(-1, 2)}\n',
        ).replace('param_grid = {"shift"', 'unused = {"shift"')
    )  # fmt: skip
    command = _started(slow, 4)
    command.signal(signal.SIGINT)
    command.end()
    before = recorded(slow, "r")
    skygrid(slow, "resume", "r")
    assert result(slow, "r")["reused"] == before
    assert len({line.split()[0] for line in _ledger(slow)}) == 10


def test_a_complete_run_is_assembled_again_without_fitting(slow: Path) -> None:
    """`resume` of a complete run repeats only the refit and gives the same result."""
    skygrid(slow, "run", "search.py", "--name", "r")
    before, done = result(slow, "r"), _ledger(slow)
    (slow / "skygrid-runs" / "r" / "result.json").unlink()
    skygrid(slow, "resume", "r")
    assert result(slow, "r")["cv_results"] == before["cv_results"]
    assert sum((_ledger(slow) - done).values()) == 1


def test_a_runs_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A runs-dir that is a file ends in one message before any fit."""
    (tmp_path / "search.py").write_text(SLOW_SEARCH)
    (tmp_path / "taken").write_text("")
    _, err = skygrid(tmp_path, "run", "search.py", "--runs-dir", "taken", expect=None)
    assert "taken" in err
    assert "Traceback" not in err
    assert not (tmp_path / "ledger.txt").exists()


def test_nothing_is_left_in_shared_memory(slow: Path) -> None:
    """The slots' shared data is removed with them, even after kill -9."""
    before = set(os.listdir("/dev/shm"))
    command = _started(slow, 2)
    family = command.family()
    command.signal(signal.SIGKILL)
    command.end()
    wait_for(lambda: gone(family), "agents and slots are gone")
    # Other tests may have files there while they run.
    left = {name for name in set(os.listdir("/dev/shm")) - before if "skygrid" in name}
    wait_for(lambda: left.isdisjoint(os.listdir("/dev/shm")), f"{left} to go")


def test_credentials_of_the_config_survive_a_kill_and_end_with_the_run(slow: Path) -> None:
    """After kill -9 one private file has them, so that resume works; a complete run has none."""
    (slow / "index.toml").write_text(
        'on = "local"\n[environment]\nindex_url = "https://me:s3cret@example.org/simple"\n'
    )

    def having() -> list[str]:
        files = [one for one in (slow / "skygrid-runs" / "r").rglob("*") if one.is_file()]
        return [one.name for one in files if b"s3cret" in one.read_bytes()]

    command = _started(slow, 1, "--config", "index.toml")
    command.signal(signal.SIGKILL)
    command.end()
    assert having() == ["secrets.json"]
    out, _ = skygrid(slow, "show", "r", "--json")
    assert (
        json.loads(out)["config"]["environment"]["index_url"] == "https://****@example.org/simple"
    )

    skygrid(slow, "resume", "r", "--quiet")
    assert having() == []
    _same_as_sklearn(slow, "r")
