"""Runs over SSH: a driver as a child process, real sshd nodes, and the files of the run."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from sklearn.base import clone

from skygrid.search_file import load_search
from tests.command import PATIENCE_SECONDS, SLOW_SEARCH, Command, recorded, result, wait_for
from tests.sshd import SshBed, SshNode

SHARED = Path(__file__).parents[1] / ".pytest_cache" / "nodes"
"""Environments of nodes, which are large and made once, by the first run that needs one."""


class Bench:
    """A folder with a search and a config, and the nodes that the config names.

    Parameters
    ----------
    folder : Path
    bed : SshBed
    search : str
        Text of ``search.py``.
    **ssh
        Keys of the ``[ssh]`` table; timeouts are short unless given.
    """

    def __init__(self, folder: Path, bed: SshBed, search: str = SLOW_SEARCH, **ssh: Any) -> None:
        self.folder = folder
        self.bed = bed
        self.hosts: list[str] = []
        self.extra = ""
        """More lines of the config, above its tables."""

        self.fitted = 0
        """Number of fits that had ended when the run ended."""

        self.patience = PATIENCE_SECONDS
        self.out = ""
        """Stdout of the last run that ended well."""

        self.environment = 'packages = ["scikit-learn"]'
        self.concurrency = 2
        self._ssh = {"connect_timeout": 10.0, "lost_after": 20.0, "orphan_after": 30.0, **ssh}
        (folder / "search.py").write_text(search)

    def node(self, *, prepared: bool = True, host: bool = True, **options: Any) -> SshNode:
        """Start a node; if `prepared`, it shares the environments of other tests."""
        node = self.bed.node(**options)
        if prepared:
            root = node.home / ".cache" / "skygrid"
            root.mkdir(parents=True, mode=0o700)
            for name in ("envs", "tools", "uv-cache"):
                (SHARED / name).mkdir(mode=0o700, parents=True, exist_ok=True)
                (root / name).symlink_to(SHARED / name)
        if host:
            self.hosts.append(self.bed.alias(node))
        return node

    def start(self, *options: str, command: str = "run") -> Command:
        """Start the search, as run ``r``, or resume it."""
        self.write_config()
        what = ["run", "search.py", "--name", "r"] if command == "run" else ["resume", "r"]
        return Command(self.folder, *what, "-v", *options, env=self.bed.environment())

    def doctor(self) -> Command:
        """Start ``skygrid doctor`` for all hosts."""
        self.write_config()
        return Command(self.folder, "doctor", "--json", env=self.bed.environment())

    def write_config(self) -> None:
        """Write the config, which names the nodes."""
        table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in self._ssh.items())
        (self.folder / "skygrid.toml").write_text(
            f'on = "ssh"\nconcurrency = {self.concurrency}\n{self.extra}\n'
            f"[ssh]\nhosts = {json.dumps(self.hosts)}\n"
            f"{table}\n[environment]\n{self.environment}\n"
        )

    def started(self, fits: int, *options: str) -> Command:
        """Start the search, and wait until this number of fits is recorded."""
        command = self.start(*options)
        self.wait_for_fits(command, fits)
        assert command.process.poll() is None, command.end()
        return command

    def wait_for_fits(self, command: Command, fits: int) -> None:
        """Wait until this number of fits is recorded, or the command has ended."""
        wait_for(
            lambda: recorded(self.folder, "r") >= fits or command.process.poll() is not None,
            f"{fits} recorded fits",
            self.patience,
        )

    def ended_well(self, command: Command) -> str:
        """Wait for a run that must succeed, with scikit-learn's scores; return its stderr."""
        code, self.out, err = command.end(self.patience)
        assert code == 0, f"exit {code}\n{self.out}\n{err}"
        self.fitted = self.count_fits()
        self.check_answer()
        self.bed.wait_clean()
        return err

    def ended_with(self, code: int, command: Command) -> str:
        """Wait for a run that must fail with this exit code; return its stderr."""
        found, out, err = command.end(self.patience)
        assert found == code, f"exit {found}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return err

    def count_fits(self) -> int:
        """Return the number of ended fits on all nodes, including the refit."""
        return len((self.folder / "ledger.txt").read_text().splitlines())

    def check_answer(self) -> None:
        """Fail unless the run's scores equal those of scikit-learn's own ``fit``."""
        spec = load_search(self.folder / "search.py")
        search: Any = clone(spec.search).set_params(estimator__seconds=0.0).fit(spec.X, spec.y)
        document = result(self.folder, "r")["cv_results"]
        for name, column in search.cv_results_.items():
            if "test" in name:
                assert document[name] == column.tolist(), name

    def attempts(self) -> Counter[int]:
        """Return the number of outcomes of a first attempt, a second, and so on."""
        return Counter(number for _, number in self._outcomes())

    def nodes(self) -> Counter[str]:
        """Return the number of outcomes that each node computed."""
        return Counter(node for node, _ in self._outcomes())

    def _outcomes(self) -> list[tuple[str, int]]:
        path = self.folder / "skygrid-runs" / "r" / "journal.sqlite"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT node, attempt FROM outcomes").fetchall()
        finally:
            connection.close()

    def log(self, node: str) -> str:
        """Return the run's copy of a node's log."""
        path = self.folder / "skygrid-runs" / "r" / "logs" / f"{node}.log"
        return path.read_text() if path.exists() else ""


def agents(node: SshNode) -> list[int]:
    """Return the process ids of the agents on a node: the children of keepers."""
    found = []
    for pid in node.pids():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            parent = process.parent()
            if parent is not None and "skygrid.worker.keeper.keeper" in parent.cmdline():
                found.append(pid)
    return sorted(found)
