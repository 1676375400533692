"""Runs on the cloud for tests: a driver as a child process, instances that boot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cloud.client import Cloud, Node
from tests.command import SLOW_SEARCH, Command, result, wait_for
from tests.search_runs import SearchRuns


class CloudBench(SearchRuns):
    """A folder with a search and a config whose nodes are on the cloud.

    The folder is on every instance too, so that the search can note its fits there.

    Parameters
    ----------
    folder : Path
    cloud : Cloud
    search : str
        Text of ``search.py``.
    nodes : int
    **aws
        Keys of the ``[aws]`` table; timeouts are short unless given.
    """

    def __init__(
        self, folder: Path, cloud: Cloud, search: str = SLOW_SEARCH, nodes: int = 2, **aws: Any
    ) -> None:
        super().__init__(folder, search)
        self.cloud = cloud
        self.patience = 150.0
        self.nodes_wanted = nodes
        self.concurrency = 2
        self.extra = ""
        """More lines for the config, above its tables."""

        self.aws = {
            "instance_types": ["c7i.large"],
            "launch_timeout": 60.0,
            "lost_after": 20.0,
            "orphan_after": 60.0,
            **aws,
        }
        cloud.mount(folder)

    def start(self, *options: str, command: str = "run") -> Command:
        """Start the search, as run ``r``, or resume it; nobody is asked about money."""
        self.write_config()
        what = ["run", "search.py", "--name", "r"] if command == "run" else ["resume", "r"]
        return self.command(*what, "--yes", "-v", *options)

    def command(self, *arguments: str) -> Command:
        """Start any command of skygrid in the folder, with the cloud for AWS."""
        return Command(self.folder, *arguments, env=self.cloud.environment())

    def write_config(self) -> None:
        """Write the config of the search."""
        table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in self.aws.items())
        (self.folder / "skygrid.toml").write_text(
            f'on = "aws"\nnodes = {self.nodes_wanted}\nconcurrency = {self.concurrency}\n'
            f'{self.extra}\n[aws]\n{table}\n[environment]\npackages = ["scikit-learn"]\n'
        )

    def run_id(self) -> str:
        """The run's own mark, which is in the tags of its instances."""
        document = json.loads((self.folder / "skygrid-runs" / "r" / "run.json").read_text())
        return str(document["run_id"])

    def instances(self, *states: str) -> list[Node]:
        """The cloud's instances in these states, of whatever run."""
        return self.cloud.nodes(*states)

    def instance(self, name: str) -> Node:
        """Wait for the running instance of a node by its name, e.g. ``aws-2``."""
        found: Node = wait_for(
            lambda: next(
                (one for one in self.instances("running") if one.tags.get("skygrid:node") == name),
                None,
            ),
            f"an instance of {name}",
        )
        return found

    def wait_clean(self) -> None:
        """Nothing is left that the API or this machine knows of."""
        self.cloud.check_nothing_left()

    def cost(self) -> Any:
        """What the run's document says of money."""
        return result(self.folder, "r").get("cost")
