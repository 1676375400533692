"""Nodes that a command of the user starts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence

from skygrid.config import RunConfig
from skygrid.nodes.command.agent_start import AGENT, AgentStart
from skygrid.nodes.command.channel import CommandChannel
from skygrid.nodes.interface import Transport, Watcher


class CommandProvider:
    """Nodes of the ``[command]`` table, one for each run of the command.

    Parameters
    ----------
    config : RunConfig
    """

    shares_modules = False

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def names(self) -> Sequence[str]:
        """Return command-1, command-2 and so on."""
        return [f"command-{number}" for number in range(1, (self._config.nodes or 1) + 1)]

    def set_modules(self, imported: Collection[str]) -> None:
        """Do nothing: the nodes have their environment."""

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """Return a channel through a new run of the command."""
        command = self._config.command
        return CommandChannel(
            ["/bin/sh", "-c", filled_in(self._config, name)],
            agent_start(self._config, shared=command.shared, python=command.python),
            watcher,
            start_seconds=command.start_timeout,
            stop_seconds=command.stop_timeout,
        )

    def successor(self, name: str) -> str | None:
        """Return the same name: the command can be run again."""
        return name

    def close(self) -> None:
        """Do nothing: commands end with their channels."""


def agent_start(config: RunConfig, *, shared: bool, python: str | None) -> AgentStart:
    """Return what a node of a configuration needs to start an agent."""
    slots = config.concurrency
    return AgentStart(
        arguments=("--slots", str(slots)) if slots else (),
        hash_seed=config.hash_seed,
        shared=shared,
        python=python,
    )


def filled_in(config: RunConfig, node: str) -> str:
    """Return the command line that starts a node."""
    values = {"agent": AGENT, "node": node, "concurrency": str(config.concurrency)}
    return fill(config.command.start or "", values)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace ``{name}`` by its value, quoted for a shell; all other braces stay as they are."""
    names = "|".join(map(re.escape, values))
    # Not ${name}, which is a variable of the shell.
    return re.sub(rf"(?<!\$)\{{({names})\}}", lambda found: shlex.quote(values[found[1]]), text)
