"""The place of hosts that the user has."""

from __future__ import annotations

from collections.abc import Sequence

from skygrid.config import RunConfig, limits
from skygrid.errors import ConfigError
from skygrid.nodes.interface import Provider
from skygrid.nodes.records import Finding


class SshPlace:
    """The hosts of the ``[ssh]`` table.

    Methods import the rest of the room when they need it: paramiko takes a third of a second.
    """

    title = "hosts that you have"
    # A broken connection is noticed within its silence; only then is it known to be mended.
    lease_seconds = limits.REMOTE_LEASE
    rental = None

    def check(self, config: RunConfig) -> None:
        """Refuse a run without hosts, and one with more nodes than hosts."""
        hosts = len(config.ssh.hosts)
        if not hosts:
            raise ConfigError(
                f"{config.origin('on')} needs hosts: write hosts = [...] under "
                "[ssh] in a config file and name it with --config"
            )
        nodes = self.nodes(config)
        if nodes > hosts:
            raise ConfigError(
                f"{config.origin('nodes')} is {nodes}, and [ssh] hosts names {hosts}: add hosts "
                "or take fewer"
            )

    def nodes(self, config: RunConfig) -> int:
        """Return the number of hosts that are used."""
        return config.nodes or len(config.ssh.hosts)

    def slots(self, config: RunConfig) -> int | None:
        """Return the slots of all hosts, where `concurrency` is set."""
        return None if config.concurrency is None else self.nodes(config) * config.concurrency

    def min_nodes(self, config: RunConfig) -> int:
        """Return the number of all hosts."""
        return self.nodes(config)

    def provider(self, config: RunConfig, run_id: str) -> Provider:
        """Return the provider of the hosts."""
        from .provider import SshHosts

        return SshHosts(config, run_id)

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        """Look at each host."""
        from .doctor import examine_hosts

        return examine_hosts(config)


PLACE = SshPlace()
