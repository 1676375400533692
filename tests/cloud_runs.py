"""Runs on a cloud for tests: a driver as a child process, and the files of its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cloud.client import Cloud, Node
from tests.command import SLOW_SEARCH, Command, wait_for
from tests.ssh_runs import Bench
from tests.sshd import SshBed

LONG_SEARCH = SLOW_SEARCH.replace("range(-5, 5)", "range(-25, 25)")
"""50 candidates x 4 splits of a tenth of a second."""

RUN = "r"


class CloudBed:
    """A cloud, and optionally the SSH hosts of a user."""

    def __init__(self, cloud: Cloud, hosts: SshBed | None = None) -> None:
        self._cloud, self._hosts = cloud, hosts

    def environment(self) -> dict[str, str]:
        """Return the variables that make a process use the cloud as AWS."""
        found = self._hosts.environment() if self._hosts is not None else {}
        return {**found, **self._cloud.variables()}

    def wait_clean(self) -> None:
        """Fail if anything is left of a node."""
        self._cloud.check_nothing_left()
        if self._hosts is not None:
            self._hosts.wait_clean()


class CloudBench(Bench):
    """A folder with a search and a config of nodes on a cloud.

    Parameters
    ----------
    folder : Path
        Instances see it at the same path.
    cloud : Cloud
    search : str
        Text of ``search.py``.
    hosts : SshBed, optional
        Hosts beside the cloud, such as one to jump through.
    **aws
        Keys of the ``[aws]`` table; timeouts are short unless given.
    """

    def __init__(
        self,
        folder: Path,
        cloud: Cloud,
        search: str = SLOW_SEARCH,
        hosts: SshBed | None = None,
        **aws: Any,
    ) -> None:
        super().__init__(folder, CloudBed(cloud, hosts), search)  # type: ignore[arg-type]
        self.cloud = cloud
        # Seconds for boots and for the first environment, on a busy machine.
        self.patience = 150.0
        self.aws = {"lost_after": 20.0, "orphan_after": 30.0, "launch_timeout": 60.0, **aws}
        cloud.mount(folder)

    def write_config(self) -> None:
        """Write the config of the search."""
        table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in self.aws.items())
        (self.folder / "skygrid.toml").write_text(
            f'on = "aws"\nconcurrency = {self.concurrency}\nyes = true\n{self.extra}\n'
            f"[aws]\n{table}\n[environment]\n{self.environment}\n"
        )

    def resume(self, *options: str) -> Command:
        """Resume the run."""
        return self.start("--yes", *options, command="resume")

    def instances(self, *states: str) -> dict[str, Node]:
        """Return the newest instance of each node in these states, by the node's name."""
        return {node.tags.get("skygrid:node", ""): node for node in self.cloud.nodes(*states)}

    def instance(self, name: str) -> Node:
        """Wait for the running instance of a node, and return it."""
        wait_for(lambda: name in self.instances("running"), f"{name} to run")
        return self.instances("running")[name]

    def run_folder(self) -> Path:
        """Return the folder of the run."""
        return self.folder / "skygrid-runs" / RUN

    def record(self) -> Any:
        """Return the content of ``run.json``."""
        return json.loads((self.run_folder() / "run.json").read_text())
