"""The nodes of an engine: their start, loss and replacement."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import msgspec

from skygrid.engine.link import Link
from skygrid.engine.node_events import Cure, Event, Gone
from skygrid.engine.node_log import NodeLog
from skygrid.engine.stopping import StartCondition, unbounded
from skygrid.errors import (
    BudgetReachedError,
    HandshakeError,
    NodeError,
    ProtocolError,
    SkygridError,
)
from skygrid.listener import Listener
from skygrid.nodes.interface import Provider
from skygrid.util.terminal import printable
from skygrid.worker.wire.messages.from_agent import Greeting, Leaving

LOGGER = logging.getLogger(__name__)

MAX_REPLACEMENTS = 5
"""Maximum number of losses of one node in a row without a report in between."""

MAX_FAULTS = 2
"""Maximum number of losses of one place by a node's own fault, such as false scores; after the next
one the place gets no new node. Reports in between do not count: a node may send true ones too.
"""

MOST_SAID = 10_000
"""Maximum length of a loss's reason in characters: it may be a traceback."""


class Roster:
    """The nodes of an engine. Changed on the engine's thread alone.

    Parameters
    ----------
    min_nodes : int
        The run ends when fewer nodes can be had.
    inbox : SimpleQueue of Event
        Receives the messages of all nodes.
    may_not_start : callable, optional
        Returns a reason to start no nodes, or None.
    """

    def __init__(
        self,
        provider: Provider,
        min_nodes: int,
        listener: Listener,
        inbox: SimpleQueue[Event | None],
        may_not_start: StartCondition = unbounded,
    ) -> None:
        self._provider = provider
        self._min_nodes = min_nodes
        self._listener = listener
        self._inbox = inbox
        self._may_not_start = may_not_start
        self._not_replaced: str | None = None
        """Reason why the budget allowed no replacement of a node."""

        self._logs: dict[str, NodeLog] = {}
        self._log_folder: Path | None = None
        self._places: dict[str, str] = {}
        """Replacement node -> first node of its place; first nodes are not in it."""

        self._losses: dict[str, int] = {}
        """Losses per place since a node there last reported."""

        self._faults: dict[str, int] = {}
        """Losses per place by a node's own fault."""

        self._begun = False
        """True once `min_nodes` nodes were ready at one time: from then on fewer suffice."""

        self._missing: dict[str, str] = {}
        """Node that could not be had -> reason."""

        self.links: dict[str, Link] = {}
        self.greetings: dict[str, Greeting] = {}
        """Newest greeting of every node, lost ones included."""

    # -- life

    def start(self) -> None:
        """Start every node; return at once.

        Raises
        ------
        BudgetReachedError
            If the budget does not allow to start them.
        """
        self._begun, self._missing, self._not_replaced = False, {}, None
        names = self._provider.names()
        if reason := self._may_not_start(len(names), 0):
            raise BudgetReachedError(reason)
        LOGGER.info("starting nodes; fits begin once %d are ready", self._min_nodes)
        for name in names:
            self._launch(name)

    def keep_logs(self, folder: Path) -> None:
        """Write the nodes' logs into this folder, as ``NODE.log``."""
        self._log_folder = folder
        for name, log in self._logs.items():
            log.open(folder / f"{name}.log")

    def kill(self) -> None:
        """End every agent at once, without a message. Safe in a signal handler."""
        for link in list(self.links.values()):  # another thread may change them
            link.transport.kill()

    def close(self) -> None:
        """End every node."""
        links = list(self.links.values())
        if links:
            # In parallel: each unreachable node takes its own time-out.
            with ThreadPoolExecutor(len(links), thread_name_prefix="close") as pool:
                list(pool.map(Link.close, links))
        for link in links:
            self._listener.node_changed(link.name, "gone")
        self.links = {}
        for log in self._logs.values():
            log.close()

    def _launch(self, name: str) -> None:
        log = self._logs.setdefault(name, NodeLog())
        if self._log_folder is not None:
            log.open(self._log_folder / f"{name}.log")
        link = Link(name, self._provider.transport, self._inbox, log)
        self.links[name] = link
        self._listener.node_changed(name, "starting")
        link.start()

    # -- what is known of nodes

    def has(self, link: Link) -> bool:
        """Return whether the link is still a node of this run; messages of others are ignored."""
        return self.links.get(link.name) is link

    def ready(self, link: Link, round: int) -> None:
        """Note that a node has everything for a round."""
        link.ready_round = round
        there = {self._place(name) for name, link in self.links.items() if link.ready_round >= 0}
        self._begun = self._begun or len(there) >= self._min_nodes

    @property
    def enough(self) -> bool:
        """True if enough nodes were ready for fits to start."""
        return self._begun

    def _place(self, name: str) -> str:
        return self._places.get(name, name)

    def greeted(self, link: Link, greeting: Greeting) -> None:
        """Keep a node's greeting."""
        self.greetings[link.name] = greeting

    def reported(self, link: Link) -> None:
        """Note that a node has done work: later losses are counted from zero."""
        self._losses[self._place(link.name)] = 0

    # -- nodes that are lost

    def leave(self, link: Link, notice: Leaving) -> None:
        """Start a replacement, if possible, for a node that is about to be lost."""
        if link.leaving:
            return
        link.leaving = True
        left = "" if notice.seconds is None else f" in {notice.seconds:.0f} s"
        reason = printable(notice.reason)
        link.node_log.write(f"node {link.name} is taken away{left}: {reason}\n".encode())
        self._listener.node_changed(link.name, "leaving")
        self._replace(link, "machine")

    def lose(self, link: Link, gone: Gone, cure: Cure) -> None:
        """Drop a node, and replace it if possible.

        Parameters
        ----------
        cure : {"agent", "machine", "nothing"}
            The replacement that may work.

        Raises
        ------
        BudgetReachedError
            If the budget does not allow to replace the last node.
        SkygridError
            If too few nodes are left.
        """
        log, name = link.node_log, link.name
        gone = msgspec.structs.replace(gone, reason=printable(gone.reason, MOST_SAID))
        last_words = "" if isinstance(gone.error, HandshakeError | ProtocolError) else log.tail()
        if last_words in gone.reason:
            last_words = ""  # the transport's error has them
        self._drop(link)
        log.write(f"node {name} was lost: {gone.reason}\n".encode())
        self._listener.node_lost(name, gone.reason)
        if gone.at_fault:
            place = self._place(name)
            self._faults[place] = self._faults.get(place, 0) + 1
        # A leaving node was replaced when its notice came.
        if not link.leaving and self._replace(link, cure):
            return
        if not self.links and self._not_replaced is not None:
            raise BudgetReachedError(
                f"the last node, {name}, was lost ({gone.reason}) and is not replaced: "
                f"{self._not_replaced}"
            )
        if not self._begun and (self.links or name not in self.greetings):
            self._note_missing(name, "\n".join(filter(None, (gone.reason, last_words))), gone.error)
        if not self.links:
            raise NodeError(
                f"no node is left; the last one, {name}, was lost: {gone.reason}\n"
                f"{last_words}".strip()
            )

    def _replace(self, link: Link, cure: Cure) -> bool:
        """Start a replacement for a node; return False if none can help or be had."""
        name, place = link.name, self._place(link.name)
        self._losses[place] = self._losses.get(place, 0) + 1
        losses, faults = self._losses[place], self._faults.get(place, 0)
        if cure == "nothing" or losses > MAX_REPLACEMENTS or faults > MAX_FAULTS:
            LOGGER.info("%s is not replaced: loss %d, fault %d; %s", name, losses, faults, cure)
            return False
        successor = self._provider.successor(link.name)
        if successor is None or (cure == "machine" and successor == link.name):
            LOGGER.info("there is no replacement for %s", name)
            return False
        if successor != link.name:
            others = sum(one is not link for one in self.links.values())
            if reason := self._may_not_start(1, others):
                LOGGER.warning("%s is not replaced: %s", name, reason)
                self._not_replaced = reason
                return False
            self._places[successor] = place
        LOGGER.info("%s takes the place of %s", successor, link.name)
        self._launch(successor)
        return True

    def _note_missing(self, name: str, reason: str, error: SkygridError | None) -> None:
        """Note a node that could not be had; raise if too few others are left."""
        there = {self._place(name) for name in self.links}
        if self._place(name) in there:
            return
        self._missing[name] = reason
        if len(there) >= self._min_nodes:
            return
        wanted = len(there) + len(self._missing)
        if wanted == 1 and error is not None:
            raise error
        told = "\n".join(f"{name}: {why}" for name, why in self._missing.items())
        raise NodeError(
            f"{len(there)} of {wanted} nodes can be had; the run needs at least {self._min_nodes} "
            f"(min_nodes)\n{told}"
        )

    def _drop(self, link: Link) -> None:
        # Killed first: an agent that is stopped or stuck would not notice the channel's end.
        link.transport.kill()
        link.close()
        del self.links[link.name]
