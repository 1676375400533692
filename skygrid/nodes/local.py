"""Nodes on this machine: each is an agent process with its share of the processors."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from skygrid.config import RunConfig, limits
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.local_process import LocalProcess, agent_command
from skygrid.nodes.records import Finding
from skygrid.worker.machine import machine


class LocalProvider:
    """Provides nodes on this machine; several of them rehearse a cluster.

    Parameters
    ----------
    nodes : int
        Number of agents.
    slots : int or None
        Fits at a time on each agent; None: its share of the vCPUs.
    hash_seed : int
        PYTHONHASHSEED of the agents.
    """

    shares_modules = True

    def __init__(self, nodes: int = 1, slots: int | None = None, hash_seed: int = 0) -> None:
        self._nodes = nodes
        self._vcpus = max(1, machine.vcpus() // nodes)
        self.slots = slots or self._vcpus
        self._hash_seed = hash_seed

    def names(self) -> Sequence[str]:
        """Return local-1, local-2 and so on."""
        return [f"local-{number}" for number in range(1, self._nodes + 1)]

    def set_modules(self, imported: Collection[str]) -> None:
        """Do nothing: agents use the environment of this process."""

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """Return a channel to a new agent process."""
        seed = {"PYTHONHASHSEED": str(self._hash_seed)}
        return LocalProcess(agent_command(self.slots, self._vcpus), seed)

    def successor(self, name: str) -> str | None:
        """Return the same name: a process can always be started again."""
        return name

    def close(self) -> None:
        """Do nothing: agents end with their channels."""


class LocalPlace:
    """This machine: nodes are child processes."""

    title = "this machine"
    lease_seconds = limits.LEASE
    rental = None

    def check(self, config: RunConfig) -> None:
        """Accept all settings."""

    def nodes(self, config: RunConfig) -> int:
        """Return the number of agents."""
        return config.nodes or 1

    def slots(self, config: RunConfig) -> int:
        """Return the slots of all agents."""
        return self.nodes(config) * self.provider(config, "").slots

    def min_nodes(self, config: RunConfig) -> int:
        """Return 1: all agents start within a moment, or fail."""
        return 1

    def provider(self, config: RunConfig, run_id: str) -> LocalProvider:
        """Return the provider of the agents."""
        return LocalProvider(self.nodes(config), config.concurrency, config.hash_seed)

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        """Find nothing: the doctor always examines this machine."""
        return ()


PLACE = LocalPlace()
