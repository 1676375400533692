"""The nodes that an engine has: started, lost, had again or done without."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from skygrid.engines.link import Event, Gone, Link, NodeLog
from skygrid.errors import HandshakeError, NodeError, ProtocolError, SkygridError
from skygrid.listener import Listener
from skygrid.providers.interface import Provider
from skygrid.worker.messages import Greeting

MAX_REPLACEMENTS = 5
"""How often one node may be lost and had again without having reported anything in between."""


class Roster:
    """Which nodes there are. Changed on the engine's own thread alone.

    Parameters
    ----------
    provider : Provider
    min_nodes : int
        With fewer nodes that can be had, the run ends.
    listener : Listener
    inbox : SimpleQueue of Event
        Where messages of all nodes meet.
    """

    def __init__(
        self,
        provider: Provider,
        min_nodes: int,
        listener: Listener,
        inbox: SimpleQueue[Event | None],
    ) -> None:
        self._provider = provider
        self._min_nodes = min_nodes
        self._listener = listener
        self._inbox = inbox
        self._logs: dict[str, NodeLog] = {}
        self._losses: dict[str, int] = {}
        """How often a node was lost since it last reported anything."""

        self._missing: dict[str, str] = {}
        """Nodes that could not be had, and why."""

        self.links: dict[str, Link] = {}
        self.greetings: dict[str, Greeting] = {}
        """Of every node that was ever there, the newest one."""

    # -- life

    def start(self) -> None:
        """Start every node; returns at once."""
        for name in self._provider.names():
            self._launch(name)

    def keep_logs(self, folder: Path) -> None:
        """Write the nodes' logs into this folder, as ``NODE.log``."""
        for name, log in self._logs.items():
            log.open(folder / f"{name}.log")

    def kill(self) -> None:
        """End every agent at once, without a word. May be called from a signal handler."""
        for link in self.links.values():
            link.transport.kill()

    def close(self) -> None:
        """End every node."""
        links = list(self.links.values())
        if links:
            # A node that is out of reach is given a moment; not one node after the other.
            with ThreadPoolExecutor(len(links), thread_name_prefix="close") as pool:
                list(pool.map(Link.close, links))
        for link in links:
            self._listener.node_changed(link.name, "gone")
        self.links = {}
        for log in self._logs.values():
            log.close()

    def _launch(self, name: str) -> None:
        log = self._logs.setdefault(name, NodeLog())
        link = Link(name, self._provider.transport, self._inbox, log)
        self.links[name] = link
        self._listener.node_changed(name, "starting")
        link.start()

    # -- what is known of nodes

    def has(self, link: Link) -> bool:
        """Whether this is a node still; what one that was given up says is of no concern."""
        return self.links.get(link.name) is link

    @property
    def enough(self) -> bool:
        """Whether so many nodes were there that fits may start."""
        return len(self.greetings) >= self._min_nodes

    def greeted(self, link: Link, greeting: Greeting) -> None:
        """A node has said what it is."""
        self.greetings[link.name] = greeting

    def reported(self, link: Link) -> None:
        """A node has done work: whatever loses it later is something new."""
        self._losses[link.name] = 0

    # -- nodes that are lost

    def lose(self, link: Link, gone: Gone, *, replace: bool) -> None:
        """Go on without a node, or with a fresh one in its place.

        Raises
        ------
        SkygridError
            If too few nodes are left.
        """
        log, name = link.node_log, link.name
        last_words = "" if isinstance(gone.error, HandshakeError | ProtocolError) else log.tail()
        self._drop(link)
        log.write(f"node {name} was lost: {gone.reason}\n".encode())
        self._listener.node_lost(name, gone.reason)
        losses = self._losses[name] = self._losses.get(name, 0) + 1
        if replace and self._provider.replaceable(name) and losses <= MAX_REPLACEMENTS:
            self._launch(name)
        elif name not in self.greetings:
            self._do_without(name, "\n".join(filter(None, (gone.reason, last_words))), gone.error)
        if not self.links:
            raise NodeError(
                f"no node is left; the last one, {name}, was lost: {gone.reason}\n"
                f"{last_words}".strip()
            )

    def _do_without(self, name: str, reason: str, error: SkygridError | None) -> None:
        """A node could not be had at all: enough others have to be there."""
        self._missing[name] = reason
        there = len(self.links) + len(self._missing)
        if len(self.links) >= self._min_nodes:
            return
        if there == 1 and error is not None:
            raise error
        told = "\n".join(f"{name}: {why}" for name, why in self._missing.items())
        raise NodeError(
            f"{len(self.links)} of {there} nodes can be had, and the run is to have at least "
            f"{self._min_nodes} (min_nodes)\n{told}"
        )

    def _drop(self, link: Link) -> None:
        # Killed first: an agent that is stopped or stuck would not notice its channel's end.
        link.transport.kill()
        link.close()
        del self.links[link.name]
