"""Interfaces of a place: `Place`, `Provider`, `Transport`, and those of rented nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skygrid.config import RunConfig
from skygrid.errors import NodeError
from skygrid.nodes.records import (
    Bill,
    Finding,
    NodeList,
    Quote,
    RentedNode,
    RunHere,
    TeardownReport,
)

if TYPE_CHECKING:
    # Imports cloudpickle, which the command line does not need.
    from skygrid.worker.wire.blobs import Blob

Say = Callable[[str], None]
"""Receives messages for the user."""

ON_NODE = "node-file:"
"""Beginning of a URL that names a file in a node's memory. A ``file:`` URL may name a file on a
slow or shared disk, which the agent copies."""


class Watcher(Protocol):
    """Receives the events of a transport, on the transport's own threads."""

    def state(self, text: str) -> None:
        """Receive the state of the node: connecting, preparing, working."""

    def log(self, data: bytes) -> None:
        """Receive bytes for the node's log."""


class Transport(Protocol):
    """The channel to one agent. `read`, `read_log` and `write` have a thread each."""

    shares_files: bool
    """True if the agent can open this process's files: same machine, same user."""

    def start(self) -> None:
        """Start the agent, or connect to it.

        Raises
        ------
        NodeError
            If the start fails; the message says why and what to do.
        """

    def read(self) -> bytes:
        """Wait for bytes from the agent; empty at the end."""

    def read_log(self) -> bytes:
        """Wait for bytes of the agent's log; empty at the end."""

    def write(self, data: bytes) -> None:
        """Send bytes to the agent.

        Raises
        ------
        OSError
            If the agent is gone.
        """

    def url_of(self, blob: Blob) -> str | None:
        """Return a URL from which the agent can fetch a blob; None if it must be sent.

        Waits until the blob is uploaded. After `ON_NODE` comes the path of a file on the node that
        stays there as long as the blob exists: the agent maps it without a copy.
        """

    def mending(self) -> bool:
        """Return whether the connection is being repaired: the agent is silent meanwhile."""

    def ended(self) -> str:
        """Return how the agent ended, as text: ``killed by SIGKILL``, ``exit code 1``."""

    def error(self) -> NodeError | None:
        """Return the error that ended the channel, if a new agent on the node would fail too."""

    def kill(self) -> None:
        """End the agent at once, without waiting."""

    def close(self) -> None:
        """End the channel, the agent and everything it started. May be called at any time."""


class Provider(Protocol):
    """Names the nodes of a run and makes the channel to each."""

    shares_modules: bool
    """True if nodes are processes of this machine, which can import what this process can."""

    def names(self) -> Sequence[str]:
        """Return the name of each node of the run."""

    def set_modules(self, imported: Collection[str]) -> None:
        """Begin to prepare the nodes for a search that has imported these modules.

        Nodes may be connected before this call, but not prepared.
        """

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """Return a channel to a new agent on this node, not started yet."""

    def successor(self, name: str) -> str | None:
        """Return the name of the replacement of a node that is lost or about to be.

        Called on the thread that drives the run: must not wait.

        Returns
        -------
        successor : str or None
            The node's own name for a new agent on the same machine; a new name for another
            machine; None if there is no replacement.
        """

    def close(self) -> None:
        """End everything that was started for the run. Called once, after all channels closed.

        Raises
        ------
        SkygridError
            If something is left.
        """


class RentingProvider(Provider, Protocol):
    """A provider whose nodes cost money, made by an accepted `Offer`."""

    @property
    def report(self) -> TeardownReport | None:
        """Report of the teardown; None before `close`."""

    def bill(self) -> Bill:
        """Return the cost so far, and the nodes that are left."""

    def dollars_per_hour(self) -> float | None:
        """Return the USD per hour of nodes not known to be gone; None: price unknown."""

    def rented(self) -> Sequence[RentedNode]:
        """Return the nodes of all sessions of the run, as last seen."""


class Offer(Protocol):
    """Nodes that can be rented for a run. Nothing is started before it is accepted."""

    @property
    def quote(self) -> Quote:
        """The nodes and their price."""

    def accept(self, run_id: str, run_name: str, folder: Path, say: Say) -> RentingProvider:
        """Return the provider that starts the nodes when they are first needed.

        Parameters
        ----------
        run_id, run_name : str
            Marks of everything that is rented.
        folder : Path
            The run's folder. Each order is written there before it is placed.
        say : callable
            Receives progress of the teardown.

        Raises
        ------
        SkygridError
            If nodes of an earlier session of the run cannot be taken over.
        """


class RentingPlace(Protocol):
    """A place that rents nodes: offers them, and lists and ends those that run."""

    def offer(self, config: RunConfig, folder: Path | None = None) -> Offer:
        """Return an offer of the nodes of a configuration; start nothing.

        Parameters
        ----------
        config : RunConfig
        folder : Path, optional
            Folder of a run that may have had nodes before: it continues where it began.

        Raises
        ------
        ConfigError
            If nothing on offer fits the configuration.
        NodeError
            If the place denies this user access.
        """

    def has_rented(self, folder: Path) -> bool:
        """Return whether the run of this folder ever rented nodes here."""

    def list(self, config: RunConfig, runs: Sequence[RunHere], now: float) -> NodeList:
        """Return every node that skygrid runs here, started from any machine.

        Parameters
        ----------
        config : RunConfig
        runs : sequence of RunHere
            Runs whose regions are searched too.
        now : float
            Seconds since the epoch.

        Raises
        ------
        ConfigError
            If no region is chosen.
        NodeError
            If the place does not answer, or denies this user access.
        """

    def end_run(self, config: RunConfig, run: str | RunHere, say: Say) -> TeardownReport:
        """End the nodes of one run and everything made for them.

        Parameters
        ----------
        config : RunConfig
        run : str or RunHere
            The run; its name or mark if its folder is not on this machine.
        say : callable
            Receives progress.

        Raises
        ------
        UsageError
            If there is no such run, or more than one.
        """

    def end_all(
        self,
        config: RunConfig,
        runs: Sequence[RunHere],
        say: Say,
        *,
        orphans_at: float | None = None,
    ) -> TeardownReport:
        """End the nodes of all runs.

        Parameters
        ----------
        config : RunConfig
        runs : sequence of RunHere
        say : callable
            Receives progress.
        orphans_at : float, optional
            Seconds since the epoch. If given, end only runs in `runs` without a driver, and runs
            with a node whose time was over then.
        """


class Place(Protocol):
    """A place for nodes: one value of the setting `on`."""

    title: str
    """The place in words: ``this machine``."""

    lease_seconds: float
    """Seconds of silence after which the leases of a node go to other nodes."""

    @property
    def rental(self) -> RentingPlace | None:
        """The renting interface of the place; None if nodes cost nothing."""

    def check(self, config: RunConfig) -> None:
        """Refuse settings that make no sense for this place.

        Raises
        ------
        ConfigError
        """

    def nodes(self, config: RunConfig) -> int:
        """Return the number of nodes of a run."""

    def slots(self, config: RunConfig) -> int | None:
        """Return the number of slots of all nodes; None if unknown before the nodes run."""

    def min_nodes(self, config: RunConfig) -> int:
        """Return the number of ready nodes at which fits start, unless the config sets it."""

    def provider(self, config: RunConfig, run_id: str) -> Provider:
        """Return the provider of a run's nodes, if they cost nothing.

        Parameters
        ----------
        config : RunConfig
        run_id : str
            Mark of the run, by which nodes of an earlier session are found.

        Raises
        ------
        UsageError
            If nodes are rented here: accept an offer of `rental` instead.
        """

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        """Examine the place for `skygrid doctor`; change nothing."""
