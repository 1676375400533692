"""Runs of one search in a folder, wherever its nodes are: started, waited for, compared."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any

from sklearn.base import clone

from skygrid.loading import load_search
from tests.command import PATIENCE_SECONDS, Command, recorded, result, wait_for


class SearchRuns(ABC):
    """A folder with a search, and what a user keeps of its run ``r``.

    Parameters
    ----------
    folder : Path
    search : str
        Text of ``search.py``.
    """

    def __init__(self, folder: Path, search: str) -> None:
        self.folder = folder
        self.patience = PATIENCE_SECONDS
        """Seconds in which a run comes to its end, or to so many fits."""

        self.fitted = 0
        """Fits that had come to their end when the run had."""

        (folder / "search.py").write_text(search)

    @abstractmethod
    def start(self, *options: str, command: str = "run") -> Command:
        """Start the search, as run ``r``, or resume it."""

    @abstractmethod
    def wait_clean(self) -> None:
        """Wait until nothing is left of the run on any node; fail with what is."""

    def started(self, fits: int, *options: str) -> Command:
        """Start the search and wait until so many fits are recorded."""
        command = self.start(*options)
        self.wait_for_fits(command, fits)
        assert command.process.poll() is None, command.end()
        return command

    def wait_for_fits(self, command: Command, fits: int) -> None:
        """Wait until so many fits are recorded, or the command has ended."""
        wait_for(
            lambda: recorded(self.folder, "r") >= fits or command.process.poll() is not None,
            f"{fits} recorded fits",
            self.patience,
        )

    def ended_well(self, command: Command) -> str:
        """Wait for the end of a run that is to succeed as scikit-learn would; its stderr."""
        code, out, err = command.end(self.patience)
        assert code == 0, f"exit {code}\n{out}\n{err}"
        self.fitted = self.count_fits()
        self.check_answer()
        self.wait_clean()
        return err

    def ended_with(self, code: int, command: Command) -> str:
        """Wait for the end of a run that is to fail so; its stderr."""
        found, out, err = command.end(self.patience)
        assert found == code, f"exit {found}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return err

    def count_fits(self) -> int:
        """How many fits have come to their end, on any node, the refit included."""
        return len((self.folder / "ledger.txt").read_text().splitlines())

    def check_answer(self) -> None:
        """The run's scores are those of scikit-learn's own ``fit``."""
        spec = load_search(self.folder / "search.py")
        search: Any = clone(spec.search).set_params(estimator__seconds=0.0).fit(spec.X, spec.y)
        document = result(self.folder, "r")["cv_results"]
        for name, column in search.cv_results_.items():
            if "test" in name:
                assert document[name] == column.tolist(), name

    def attempts(self) -> Counter[int]:
        """How many outcomes are those of a first attempt, a second, and so on."""
        return Counter(number for _, number in self._outcomes())

    def nodes(self) -> Counter[str]:
        """How many outcomes each node computed."""
        return Counter(node for node, _ in self._outcomes())

    def _outcomes(self) -> list[tuple[str, int]]:
        path = self.folder / "skygrid-runs" / "r" / "journal.sqlite"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT node, attempt FROM outcomes").fetchall()
        finally:
            connection.close()

    def log(self, node: str) -> str:
        """What the run has of a node's log."""
        path = self.folder / "skygrid-runs" / "r" / "logs" / f"{node}.log"
        return path.read_text() if path.exists() else ""
