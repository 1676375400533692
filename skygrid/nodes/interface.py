"""Interfaces of a place: `Place`, `Provider`, `Transport`, and those of nodes that cost money."""

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
    # It imports cloudpickle, which the command line does not need.
    from skygrid.worker.wire.blobs import Blob

Say = Callable[[str], None]
"""Receives messages for a person."""


class Watcher(Protocol):
    """Is told what a transport does, on the transport's own threads."""

    def state(self, text: str) -> None:
        """What goes on with the node: connecting, preparing, working."""

    def log(self, data: bytes) -> None:
        """Bytes for the node's log."""


class Transport(Protocol):
    """One agent's channel. Reading, reading the log and writing have a thread each."""

    shares_files: bool
    """True if the agent can open this process's files: same machine, same user."""

    def start(self) -> None:
        """Start the agent, or connect to it.

        Raises
        ------
        NodeError
            If that cannot be done; the message says why and what to do.
        """

    def read(self) -> bytes:
        """Wait for bytes from the agent; empty when there will be none any more."""

    def read_log(self) -> bytes:
        """Wait for bytes of the agent's log; empty when there will be none any more."""

    def write(self, data: bytes) -> None:
        """Send bytes to the agent.

        Raises
        ------
        OSError
            If the agent is gone.
        """

    def url_of(self, blob: Blob) -> str | None:
        """Return a URL from which the agent can fetch a blob; None where it has to be sent.

        May take as long as it takes to bring the blob there.
        """

    def mending(self) -> bool:
        """Return whether the connection is broken and being made anew: silence is no sign then."""

    def ended(self) -> str:
        """Return how the agent ended, for a person: ``killed by SIGKILL``, ``exit code 1``."""

    def error(self) -> NodeError | None:
        """Return why the channel ended, if a new agent on the node could not mend that."""

    def kill(self) -> None:
        """End the agent at once; never waits."""

    def close(self) -> None:
        """End the channel, and the agent with everything it started; may be called at any time."""


class Provider(Protocol):
    """Names the nodes of a run and makes the channel to each."""

    at_hand: bool
    """True if nodes are processes of this machine and may import whatever this process may."""

    def names(self) -> Sequence[str]:
        """Return the nodes' names, one for each node of the run."""

    def equip(self, imported: Collection[str]) -> None:
        """Begin to make nodes ready to work: the search is loaded and has imported these modules.

        Nodes may be reached before; they are not made ready before this call.
        """

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """Return a channel to a fresh agent on this node, not started yet."""

    def successor(self, name: str) -> str | None:
        """Return the name under which a node that is lost, or about to be, is replaced.

        Must answer at once: it is asked on the thread that drives the run.

        Returns
        -------
        successor : str or None
            The node's own name where a new agent can be had on the same machine; another name,
            never used before, for another machine; None when nothing can take its place.
        """

    def close(self) -> None:
        """End everything that was had for the run. Called once, when no channel is open any more.

        Raises
        ------
        SkygridError
            If something is left.
        """


class RentingProvider(Provider, Protocol):
    """A provider whose nodes cost money, made by an accepted `Offer`."""

    @property
    def report(self) -> TeardownReport | None:
        """What is left; None before `close`."""

    def bill(self) -> Bill:
        """Return the cost so far, and the nodes that are left."""

    def dollars_per_hour(self) -> float | None:
        """Return the USD an hour of the nodes that are not known to be gone; None: not known."""

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
    """A market for nodes: offers them, and finds and ends those that run."""

    def offer(self, config: RunConfig, folder: Path | None = None) -> Offer:
        """Find out which nodes a configuration asks for and what they cost; starts nothing.

        Parameters
        ----------
        config : RunConfig
        folder : Path, optional
            Folder of a run that may have had nodes before: it continues where it began.

        Raises
        ------
        ConfigError
            If the configuration does not fit what is offered.
        NodeError
            If the place does not let this user look.
        """

    def has_rented(self, folder: Path) -> bool:
        """Return whether the run of this folder ever rented nodes here."""

    def list(self, config: RunConfig, runs: Sequence[RunHere], now: float) -> NodeList:
        """Return every node that skygrid has running here, whichever machine started it.

        Parameters
        ----------
        config : RunConfig
        runs : sequence of RunHere
            Their regions are searched too.
        now : float
            Seconds since the epoch.

        Raises
        ------
        ConfigError
            If no region is chosen.
        NodeError
            If the place does not answer, or does not let this user look.
        """

    def end_run(self, config: RunConfig, run: str | RunHere, say: Say) -> TeardownReport:
        """End the nodes of one run and everything made for them.

        Parameters
        ----------
        config : RunConfig
        run : str or RunHere
            The run, or its name or mark where its folder is elsewhere.
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
            Seconds since the epoch. If given, end only runs of `runs` without a driver, and runs
            with a node whose time was over then.
        """


class Place(Protocol):
    """A kind of place for nodes, under one name of the setting `on`."""

    title: str
    """The place in words: ``this machine``."""

    lease_seconds: float
    """Silence after which a node's work is given to others."""

    @property
    def rental(self) -> RentingPlace | None:
        """The market that nodes come from; None where they cost nothing."""

    def check(self, config: RunConfig) -> None:
        """Refuse settings that make no sense for this place.

        Raises
        ------
        ConfigError
        """

    def nodes(self, config: RunConfig) -> int:
        """Return the number of nodes of a run."""

    def slots(self, config: RunConfig) -> int | None:
        """Return the slots of all nodes; None where they are not known before the nodes run."""

    def min_nodes(self, config: RunConfig) -> int:
        """Return the number of ready nodes at which fits start, if the config does not say."""

    def provider(self, config: RunConfig, run_id: str) -> Provider:
        """Return the provider of a run's nodes, where they cost nothing.

        Parameters
        ----------
        config : RunConfig
        run_id : str
            The run's own mark, by which nodes that an earlier session left are found.

        Raises
        ------
        UsageError
            If nodes are rented here: accept an offer of `rental` instead.
        """

    def examine(self, config: RunConfig) -> Sequence[Finding]:
        """Look at the place for `skygrid doctor`; changes nothing."""
