"""The race against other libraries runs and has a time limit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def raced(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Race loky on a few fits without cost, in a new interpreter."""
    asked = {"SMALL": "1", "RUNS": "1", "CONTENDERS": "loky", "WORKLOADS": "growth-1000"}
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.peers"],
        cwd=ROOT,
        env={**os.environ, **asked, "ROWS": str(folder), **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_contender_is_measured_and_its_row_kept(tmp_path: Path) -> None:
    """A contender's result is printed in a table and kept in a file."""
    done = raced(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "growth-1000: loky: done" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["small-growth-1000.json"]
    assert "scikit-learn, loky: us per fit" in done.stdout


def test_a_contender_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """A contender above the time limit is ended with all its processes."""
    done = raced(tmp_path, WORKLOADS="growth-100000", SMALL="", CUT="0.1")
    assert done.returncode == 0, done.stderr
    assert "growth-100000: loky: cut more than 0.1 s" in done.stderr
    assert not _running(str(tmp_path))


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    """A misspelt contender is named, with the known ones."""
    done = raced(tmp_path, CONTENDERS="lokey")
    assert done.returncode != 0
    assert "CONTENDERS: there is no lokey; there are skygrid," in done.stderr


def _running(mark: str) -> list[str]:
    """Return the processes with a mark in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes() and environment.parent.name != "self":
                found.append(environment.parent.name)
        except OSError:
            continue  # it ended, or belongs to another user
    return [pid for pid in found if int(pid) != os.getpid()]
