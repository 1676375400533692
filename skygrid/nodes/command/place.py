"""The place of nodes that a command of the user starts."""

from __future__ import annotations

from collections.abc import Sequence

from skygrid.config import RunConfig, limits
from skygrid.errors import ConfigError
from skygrid.nodes.interface import Provider
from skygrid.nodes.records import Finding


class CommandPlace:
    """Containers, pods, hosts: the command of the ``[command]`` table decides."""

    title = "nodes that your command starts"
    lease_seconds = limits.REMOTE_LEASE
    rental = None

    def check(self, config: RunConfig) -> None:
        """Refuse a run without a command, and a command of a file that the user did not name."""
        start = config.command.start
        if start is None:
            raise ConfigError(
                f'{config.origin("on")} needs a command: write start = "..." under [command] in '
                "a config file and name it with --config"
            )
        if config.found_file is not None and "command.start" in config.origins:
            # The file may have come with a project, as a command for this machine.
            raise ConfigError(
                f"{config.found_file} has a command to run: {start}. If you trust it, name the "
                f"file yourself: --config {config.found_file}"
            )
        if "{concurrency}" in start and config.concurrency is None:
            raise ConfigError(
                f"{config.origin('command.start')} has {{concurrency}}: set concurrency too, for "
                "example with --concurrency 4"
            )

    def nodes(self, config: RunConfig) -> int:
        """Return the number of times that the command is run."""
        return config.nodes or 1

    def slots(self, config: RunConfig) -> int | None:
        """Return the slots of all nodes, where `concurrency` is set."""
        return None if config.concurrency is None else self.nodes(config) * config.concurrency

    def min_nodes(self, config: RunConfig) -> int:
        """Return 1: a scheduler behind the command may start the others later."""
        return 1

    def provider(self, config: RunConfig, run_id: str) -> Provider:
        """Return the provider of the nodes."""
        from .provider import CommandProvider

        return CommandProvider(config)

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        """Start one agent, and end it."""
        from skygrid.nodes.examination import examine_node

        return [examine_node(self.provider(config, ""))]


PLACE = CommandPlace()
