"""Nodes on hosts that the user has, reached over SSH."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from skygrid.config import RunConfig
from skygrid.environment.awaited_kit import AwaitedKit
from skygrid.errors import ConfigError
from skygrid.nodes.ssh.agent_host import AgentPlace, HostNode
from skygrid.nodes.ssh.reconnecting import Patience, ResumingTransport
from skygrid.nodes.ssh.targets import SshOptions, Target, find_target
from skygrid.nodes.transport import Transport, Watcher

MOST_LOOKUPS = 8
"""Hosts that are looked up at a time: each is a process of OpenSSH's."""


class SshHosts:
    """The hosts of a configuration's ``[ssh]`` table.

    Parameters
    ----------
    config : RunConfig
    run_id : str
        The run's own mark; an agent of the same run is found again by it.

    Raises
    ------
    ConfigError
        If a host's spelling or the SSH configuration cannot be understood.
    """

    at_hand = False

    def __init__(self, config: RunConfig, run_id: str) -> None:
        self._config = config
        self._run_id = run_id
        self._kit = AwaitedKit(config.environment)
        self.targets = find_targets(config)

    def names(self) -> Sequence[str]:
        """The hosts' names, as far as those tell them apart."""
        return list(self.targets)

    def equip(self, imported: Collection[str]) -> None:
        """Put together what the hosts need; those that wait for it go on."""
        self._kit.make(imported)

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """A channel to the agent of this run on a host, which is started if it is not there."""
        ssh = self._config.ssh
        slots = self._config.concurrency
        place = AgentPlace(
            root=ssh.folder,
            name=f"{self._run_id}-{name}",
            arguments=("--slots", str(slots)) if slots else (),
            cache_max_gb=ssh.cache_max_gb,
            hash_seed=self._config.hash_seed,
            orphan_after=ssh.orphan_after,
        )
        node = HostNode(self.targets[name], place, self._kit.future, watcher)
        patience = Patience(
            first_connect_seconds=ssh.connect_timeout, give_up_seconds=ssh.lost_after
        )
        return ResumingTransport(node.connect, patience, on_state=watcher.state, on_end=node.close)

    def successor(self, name: str) -> str | None:
        """A host that answers can be given a new agent; there is no other host."""
        return name

    def close(self) -> None:
        """Nothing: hosts are the user's own, and agents end with their channels."""


def find_targets(config: RunConfig) -> dict[str, Target]:
    """The hosts that a run uses, by the names of their nodes."""
    ssh = config.ssh
    options = SshOptions(config_file=ssh.config_file, known_hosts=ssh.known_hosts, key=ssh.key)
    found: dict[str, Target] = {}
    hosts = ssh.hosts[: config.nodes]
    with ThreadPoolExecutor(max(1, min(len(hosts), MOST_LOOKUPS))) as pool:
        targets = list(pool.map(lambda spelled: find_target(spelled, options), hosts))
    for spelled, target in zip(hosts, targets, strict=True):
        name = _as_name(target.alias)
        if name in found:
            name = _as_name(spelled)
        if name in found:
            raise ConfigError(f"hosts under [ssh] names {spelled} twice: name each host once")
        found[name] = target
    return found


def _as_name(text: str) -> str:
    """A name for a node that may be a file's name too."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "host"
