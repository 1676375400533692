"""Interfaces between the gateway's server and the library of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """First message of the driver to its gateway."""

    place: dict[str, Any]
    """The table of the place in the configuration."""

    nodes: int | None
    """Number of nodes; None: all that the cluster has."""

    slots: int | None
    """Fits at a time on each node; None: the CPUs that the cluster gives a node."""

    hash_seed: int
    connect_seconds: float
    start_seconds: float
    lease_seconds: float
    folder: str
    """Folder for files of the cluster's library, which the driver deletes."""

    environment: dict[str, Any] = {}
    """Environment that the nodes are to make; empty: they have theirs."""


class UnavailableError(Exception):
    """Nodes cannot be had; the text is for the user and says what to do."""


class LostError(Exception):
    """A carrier is gone; the text says how it ended."""


class Carrier(Protocol):
    """A handle of one `carrier.AgentCarrier` on the cluster."""

    slots: int
    """Slots of its agent."""

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the carrier.

        Raises
        ------
        LostError
            If the carrier is gone.
        """

    async def store(self, digest: str) -> str:
        """Bring the data of `Cluster.put` to the node; return its path there, empty if refused."""

    async def end(self) -> None:
        """End the carrier, also one that the cluster has yet to start. Must not raise."""


class Cluster(Protocol):
    """A connection to a cluster, through its library."""

    async def connect(self) -> int:
        """Connect; return the number of nodes that a run gets.

        Raises
        ------
        UnavailableError
            If the cluster cannot be reached, or can never give the nodes.
        """

    async def place(self, index: int, say: Callable[[str], None]) -> Carrier:
        """Wait until the cluster has started a carrier.

        Parameters
        ----------
        index : int
            Number of the node, from 0.
        say : callable
            Receives the state of the node.

        Raises
        ------
        UnavailableError
            If the cluster can never give this node.
        """

    async def put(self, digest: str, data: Any) -> None:
        """Make data available to all nodes.

        Parameters
        ----------
        digest : str
        data : ndarray of shape (n_bytes,)
        """

    async def forget(self, digest: str) -> None:
        """Drop data."""

    async def close(self) -> None:
        """Disconnect; end a cluster that `connect` started. Must not raise."""
