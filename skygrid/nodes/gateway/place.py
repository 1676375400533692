"""The place of nodes behind a gateway, without what differs between clusters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skygrid.config import RunConfig, limits
from skygrid.nodes.interface import Provider
from skygrid.nodes.records import Finding

if TYPE_CHECKING:
    from skygrid.nodes.gateway.provider import GatewayProvider


class GatewayPlace(ABC):
    """Nodes of a cluster that the user has, or that is started on this machine."""

    lease_seconds = limits.REMOTE_LEASE
    rental = None

    @abstractmethod
    def gateway_provider(self, config: RunConfig) -> GatewayProvider:
        """Return the provider of the nodes."""

    def nodes(self, config: RunConfig) -> int:
        """Return the number of nodes; without one, the cluster decides and 1 is certain."""
        return config.nodes or 1

    def slots(self, config: RunConfig) -> int | None:
        """Return the slots of all nodes, if they are known before the cluster answers."""
        if config.concurrency is None or config.nodes is None:
            return None
        return config.nodes * config.concurrency

    def min_nodes(self, config: RunConfig) -> int:
        """Return 1: the cluster may give the others later."""
        return 1

    def provider(self, config: RunConfig, run_id: str) -> Provider:
        """Return the provider of the nodes."""
        return self.gateway_provider(config)

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        """Start one agent on the cluster, and end it."""
        from skygrid.nodes.gateway.checks import examine

        return examine(self.gateway_provider(config))
