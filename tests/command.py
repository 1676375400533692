"""The command line as a child process, and facts about its runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from skygrid.errors import JournalError
from skygrid.journal.sqlite import SqliteJournal

PATIENCE_SECONDS = 120.0
"""Seconds to wait for a fact before the test fails; normally it is true much sooner."""

SLOW_SEARCH = '''
"""Fits that take a while and leave a line each, so that a test can count them."""
import os
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

LEDGER = Path(__file__).with_name("ledger.txt")


class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, shift=0.0, seconds=0.1):
        self.shift = shift
        self.seconds = seconds

    def fit(self, X, y):
        time.sleep(self.seconds)
        with LEDGER.open("a") as ledger:
            ledger.write(f"{self.shift} {len(X)} {X[0, 0]}\\n")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return (X[:, 0] > self.shift).astype(int)


rng = np.random.RandomState(0)
X = rng.randn(60, 2)
y = (X[:, 0] + 0.3 * rng.randn(60) > 0).astype(int)
estimator = Slow()
param_grid = {"shift": [round(0.1 * i, 1) for i in range(-5, 5)]}
dataset = (X, y)
cv = 4
'''
"""10 candidates x 4 splits of a tenth of a second."""

GATED_SEARCH = SLOW_SEARCH.replace(
    "time.sleep(self.seconds)",
    'while not (LEDGER.with_name("go").exists() or self.shift == -0.5): time.sleep(0.02)',
)
"""The same search; all candidates but the first wait for a file `go` beside the search file."""


def wait_for(fact: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until `fact` returns a true value, and return it."""
    until = time.monotonic() + seconds
    pause = Pause()
    while not (found := fact()):
        assert time.monotonic() < until, f"waited {seconds:g} s in vain: {what}"
        pause()
    return found


class Pause:
    """The interval between two checks of a fact: a short wait for an event that never comes."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def __call__(self) -> None:
        import select

        select.select([self._read], [], [], 0.01)

    def __del__(self) -> None:
        os.close(self._read)
        os.close(self._write)


class Command:
    """A ``skygrid`` command, started in a folder of the test."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "skygrid", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        self.process.send_signal(number)

    def end(self, seconds: float = PATIENCE_SECONDS) -> tuple[int, str, str]:
        """Wait for the end; return exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def wait_for_line(self, words: str) -> str:
        """Read stderr up to a line with these words; `end` does not return the lines read here."""
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            if words in line:
                return line
            said.append(line)
        raise AssertionError(f"it ended without {words!r}:\n{''.join(said)}")

    def family(self) -> list[psutil.Process]:
        """Return the current agents and slots of the command."""
        return psutil.Process(self.process.pid).children(recursive=True)


def skygrid(
    folder: Path, *arguments: str, expect: int | None = 0, seconds: float = PATIENCE_SECONDS
) -> tuple[str, str]:
    """Run a command to its end; return stdout and stderr."""
    code, out, err = Command(folder, *arguments).end(seconds)
    assert expect is None or code == expect, f"exit {code}\n{out}\n{err}"
    return out, err


def recorded(folder: Path, run: str) -> int:
    """Return the number of outcomes in a run's journal, also while it runs; 0 without journal."""
    path = folder / "skygrid-runs" / run / "journal.sqlite"
    if not path.exists():
        return 0
    try:
        journal = SqliteJournal(path, read_only=True)
    except JournalError:
        return 0  # it is being made at this moment
    try:
        return journal.count()
    finally:
        journal.close()


def result(folder: Path, run: str) -> Any:
    """Return the content of ``result.json`` of a run."""
    return json.loads((folder / "skygrid-runs" / run / "result.json").read_text())


def answer_of(document: Any) -> Any:
    """Return the results in a ``result.json``, without times."""
    results = {
        name: column for name, column in document["cv_results"].items() if "time" not in name
    }
    return results, document["best_params"], document["best_score"], document["holdout_score"]


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Return whether none of these processes is left, not even as a zombie."""
    return not [process for process in processes if process.is_running()]
