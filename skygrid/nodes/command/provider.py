"""Nodes that a command of the user starts."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence

from skygrid.config import RunConfig
from skygrid.nodes.command.agent_start import AGENT, ANY_PYTHON, AgentStart
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
            self._start(),
            watcher,
            start_seconds=command.start_timeout,
            stop_seconds=command.stop_timeout,
        )

    def _start(self) -> AgentStart:
        command, slots = self._config.command, self._config.concurrency
        orphan = ("--orphan-after", f"{command.orphan_after:g}")
        pythons = (sys.executable,) if command.shared else ANY_PYTHON
        return AgentStart(
            arguments=(*orphan, "--slots", str(slots)) if slots else orphan,
            hash_seed=self._config.hash_seed,
            shared=command.shared,
            pythons=(command.python,) if command.python else pythons,
        )

    def successor(self, name: str) -> str | None:
        """Return the same name: the command can be run again."""
        return name

    def close(self) -> None:
        """Do nothing: commands end with their channels."""


def filled_in(config: RunConfig, node: str) -> str:
    """Return the command line that starts a node."""
    values = {"agent": AGENT, "node": node, "concurrency": str(config.concurrency)}
    return fill(config.command.start or "", values)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace ``{name}`` by its value, quoted for a shell; all other braces stay as they are."""
    names = "|".join(map(re.escape, values))
    # Not ${name}, which is a variable of the shell.
    return re.sub(rf"(?<!\$)\{{({names})\}}", lambda found: shlex.quote(values[found[1]]), text)
