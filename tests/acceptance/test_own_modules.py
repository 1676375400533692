"""Fits see the user's modules and the search file's settings, as with scikit-learn alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.own_modules import (
    CHECKS,
    EARLY_CHECK,
    NUMBERS,
    PLAIN,
    differences,
    search_file,
    write_project,
)
from tests.ssh_runs import Bench
from tests.sshd import SshBed, ssh_bed

__all__ = ["ssh_bed"]

PLACES = {
    "fork": {"SKYGRID_START_METHOD": "fork"},
    "spawn": {"SKYGRID_START_METHOD": "spawn"},
    "two nodes": {"SKYGRID_NODES": "2", "SKYGRID_ON": "local", "SKYGRID_CONCURRENCY": "1"},
}


@pytest.mark.parametrize("place", PLACES)
def test_fits_see_the_same_modules_and_settings(tmp_path: Path, place: str) -> None:
    """Every check holds on every node, and all nodes order sets alike."""
    environment = write_project(tmp_path)
    results, logs = run(tmp_path, environment | PLACES[place])
    assert differences(results) == [], logs


def test_variables_that_libraries_read_once_reach_the_fits(tmp_path: Path) -> None:
    """Slots start with the variables that the search file sets for scipy and scikit-learn."""
    environment = write_project(tmp_path, early=True)
    results, logs = run(tmp_path, environment | PLACES["fork"])
    assert differences(results, early=True) == [], logs


def test_hosts_get_the_same_modules(tmp_path: Path, ssh_bed: SshBed) -> None:
    """On hosts without the files every check holds except the working directory."""
    environment = write_project(tmp_path, early=True)
    bench = Bench(tmp_path, ssh_bed, search_file(early=True))
    bench.node()
    bench.node()
    bench.write_config()
    results, logs = run(tmp_path, environment | ssh_bed.environment())
    assert differences(results, early=True) == ["folder"], logs
    assert results["mean_test_sent"] == [1.0, 1.0]


def run(folder: Path, environment: dict[str, str]) -> tuple[Any, str]:
    """Return the results of a run of the project and the logs of its nodes."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("skygrid")), "run", "search.py", "--json"],
        cwd=folder,
        env=environment,
        input=NUMBERS,
        capture_output=True,
        text=True,
        check=False,
    )
    logs = "".join(log.read_text() for log in folder.glob("skygrid-runs/*/logs/*.log"))
    assert done.returncode == 0, done.stderr + logs
    return json.loads(done.stdout)["cv_results"], logs


def test_the_checks_hold_with_scikit_learn_alone(tmp_path: Path) -> None:
    """Each check holds in a plain interpreter, so a failure means a fault of skygrid."""
    environment = write_project(tmp_path, early=True)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN],
        cwd=tmp_path,
        env=environment,
        input=NUMBERS,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.split("\n")[:-1]
    assert lines == [f"{check} 1.0 1.0" for check in [*CHECKS, EARLY_CHECK]], done.stderr
