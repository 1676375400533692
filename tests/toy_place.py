"""A place for nodes in one module: child processes called toys."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from skygrid.config import RunConfig, limits
from skygrid.errors import ConfigError
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.local_process import LocalProcess, agent_command
from skygrid.nodes.records import Finding


class ToyProvider:
    """Toys, each with one slot."""

    shares_modules = True

    def __init__(self, count: int, hash_seed: int) -> None:
        self._count, self._hash_seed = count, hash_seed

    def names(self) -> Sequence[str]:
        return [f"toy-{number}" for number in range(self._count)]

    def set_modules(self, imported: Collection[str]) -> None: ...

    def transport(self, name: str, watcher: Watcher) -> Transport:
        # Every place does this, so that all nodes have the same order of sets.
        seed = {"PYTHONHASHSEED": str(self._hash_seed)}
        return LocalProcess(agent_command(slots=1, vcpus=1), seed)

    def successor(self, name: str) -> str | None:
        return None

    def close(self) -> None: ...


class ToyPlace:
    """A box of three toys."""

    title = "a box of toys"
    lease_seconds = limits.LEASE
    rental = None

    def check(self, config: RunConfig) -> None:
        if self.nodes(config) > 3:
            raise ConfigError(f"{config.origin('nodes')} is {config.nodes}; the box has 3 toys")
        if config.concurrency not in (None, 1):
            origin = config.origin("concurrency")
            raise ConfigError(f"{origin} is {config.concurrency}; a toy has one slot")

    def nodes(self, config: RunConfig) -> int:
        return config.nodes or 3

    def slots(self, config: RunConfig) -> int:
        return self.nodes(config)

    def min_nodes(self, config: RunConfig) -> int:
        return self.nodes(config)

    def provider(self, config: RunConfig, run_id: str) -> ToyProvider:
        return ToyProvider(self.nodes(config), config.hash_seed)

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        return [Finding(name=f"toy-{number}") for number in range(self.nodes(config))]


PLACE = ToyPlace()
