"""Nodes on the user's hosts, reached over SSH."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from skygrid.config import RunConfig
from skygrid.environment.awaited_kit import AwaitedKit
from skygrid.errors import ConfigError
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.ssh.agent_host import AgentPlace, HostNode
from skygrid.nodes.ssh.reconnecting import Patience, ResumingTransport
from skygrid.nodes.ssh.targets import SshOptions, Target, find_target

LONGEST_NAME = 120
"""Longest name of a node in characters: file names of at most 255 are made of it and more."""

MOST_LOOKUPS = 8
"""Maximum number of parallel host look-ups; each runs one ``ssh -G``."""


class SshHosts:
    """The hosts of the ``[ssh]`` table.

    Parameters
    ----------
    config : RunConfig
    run_id : str
        Id of the run; a resumed run finds its agents by it.

    Raises
    ------
    ConfigError
        If a host name or the SSH configuration is invalid.
    """

    shares_modules = False

    def __init__(self, config: RunConfig, run_id: str) -> None:
        self._config = config
        self._run_id = run_id
        self._kit = AwaitedKit(config.environment)
        self.targets = find_targets(config)

    def names(self) -> Sequence[str]:
        """Return the names of the nodes: the hosts' names where those are unique."""
        return list(self.targets)

    def set_modules(self, imported: Collection[str]) -> None:
        """Pack the kit, for which waiting connections continue."""
        self._kit.make(imported)

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """Return a transport to the run's agent on a host; the agent is started if it is
        missing."""
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
        """Return the same host: it gets a new agent, because no other host exists."""
        return name

    def close(self) -> None:
        """Do nothing: hosts belong to the user, and agents end with their transports."""


def find_targets(config: RunConfig) -> dict[str, Target]:
    """Return the targets of a run by node name."""
    ssh = config.ssh
    _refuse_unnamed(config)
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


def _refuse_unnamed(config: RunConfig) -> None:
    """Refuse an SSH configuration that only a project's ``skygrid.toml`` names.

    OpenSSH runs the commands in it (``Match exec``), and the file may have come with the project.
    """
    if config.found_file is not None and config.ssh.config_file is not None:
        raise ConfigError(
            f"{config.found_file} names the SSH config {config.ssh.config_file}, which can run "
            f"commands. If you trust it, name the file yourself: --config {config.found_file}"
        )


def _as_name(text: str) -> str:
    """Return a node name that is also a valid file name; a long one ends with its digest."""
    with contextlib.suppress(ValueError):  # a name, not an address
        return str(ipaddress.ip_address(text))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "host"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
