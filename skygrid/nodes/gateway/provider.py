"""Nodes of a cluster behind a gateway."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from skygrid.nodes.gateway.channel import GatewayChannel
from skygrid.nodes.gateway.cluster import GatewaySettings
from skygrid.nodes.gateway.process import Gateway
from skygrid.nodes.interface import Transport, Watcher


class GatewayProvider:
    """Nodes of a cluster, each the carrier of an agent.

    Parameters
    ----------
    name : str
        Beginning of the nodes' names.
    gateway : Gateway
    settings : GatewaySettings
    """

    shares_modules = False

    def __init__(self, name: str, gateway: Gateway, settings: GatewaySettings) -> None:
        self._name, self._gateway, self._settings = name, gateway, settings

    def names(self) -> Sequence[str]:
        """Return NAME-1, NAME-2 and so on; ask the cluster if no number of nodes is set."""
        count = self._settings.nodes or self._gateway.connection().nodes
        return [f"{self._name}-{number}" for number in range(1, count + 1)]

    def set_modules(self, imported: Collection[str]) -> None:
        """Do nothing: the nodes have their environment."""

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """Return a channel to a new agent on a new carrier."""
        return GatewayChannel(self._gateway, int(name.rpartition("-")[2]) - 1, watcher)

    def successor(self, name: str) -> str | None:
        """Return the same name: the cluster may start another carrier."""
        return name

    def close(self) -> None:
        """End the gateway, which ends all carriers."""
        self._gateway.close()
