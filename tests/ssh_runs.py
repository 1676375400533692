"""Runs over SSH: a driver as a child process, real sshd nodes, and what a user keeps of it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.command import SLOW_SEARCH, Command
from tests.search_runs import SearchRuns
from tests.sshd import SshBed, SshNode

SHARED = Path(__file__).parents[1] / ".pytest_cache" / "nodes"
"""Environments of nodes, made once by the first run that needs one: they are large."""


class Bench(SearchRuns):
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
        super().__init__(folder, search)
        self.bed = bed
        self.hosts: list[str] = []
        self.extra = ""
        """More lines for the config, above its tables."""

        self.environment = 'packages = ["scikit-learn"]'
        self.concurrency = 2
        self._ssh = {"connect_timeout": 10.0, "lost_after": 20.0, "orphan_after": 30.0, **ssh}

    def node(self, *, prepared: bool = True, host: bool = True, **options: Any) -> SshNode:
        """Start a node; `prepared` shares the environments of other tests with it."""
        node = self.bed.node(**options)
        if prepared:
            root = node.home / ".cache" / "skygrid"
            root.mkdir(parents=True)
            for name in ("envs", "tools", "uv-cache"):
                (SHARED / name).mkdir(parents=True, exist_ok=True)
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
        """Start a look at all hosts."""
        self.write_config()
        return Command(self.folder, "doctor", "--json", env=self.bed.environment())

    def write_config(self) -> None:
        """Write the config of the search, which names the nodes."""
        table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in self._ssh.items())
        (self.folder / "skygrid.toml").write_text(
            f'on = "ssh"\nconcurrency = {self.concurrency}\n{self.extra}\n'
            f"[ssh]\nhosts = {json.dumps(self.hosts)}\n"
            f"{table}\n[environment]\n{self.environment}\n"
        )

    def wait_clean(self) -> None:
        """Wait until nothing runs on any node."""
        self.bed.wait_clean()


def agents(node: SshNode) -> list[int]:
    """Process ids of the agents on a node: the children of keepers."""
    found = []
    for pid in node.pids():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            parent = process.parent()
            if parent is not None and "skygrid.worker.keeper" in parent.cmdline():
                found.append(pid)
    return sorted(found)
