"""What a node is told before it can work: how to work, then the data, the search and the round."""

from __future__ import annotations

import msgspec

from skygrid.config import limits
from skygrid.engine.handshake import check_greeting
from skygrid.engine.link import Gone, Link, LinkFailure
from skygrid.engine.round import RoundInProgress
from skygrid.engine.settings import EngineSettings
from skygrid.errors import HandshakeError
from skygrid.listener import Listener
from skygrid.util.terminal_text import printable
from skygrid.worker.machine import machine
from skygrid.worker.wire.messages import Greeting, Heartbeat, OpenRound, Setup
from skygrid.worker.wire.protocol import PROTOCOL

MOST_NAMED, MOST_VERSIONS = 200, 50
"""Characters of a name or a version that a node gives, and how many versions it may give."""


ASKED_FROM_BYTES = 64 * 1024
"""Data of so many bytes is offered first, as a node may have it. Less is sent at once: the answer
would take longer than the data."""


class Opening:
    """Makes nodes ready for a round, and says how far they are.

    Parameters
    ----------
    settings : EngineSettings
    listener : Listener
    """

    def __init__(self, settings: EngineSettings, listener: Listener) -> None:
        self._listener = listener
        self._versions = machine.versions()
        self._setup = Setup(
            protocol=PROTOCOL,
            heartbeat_seconds=limits.HEARTBEAT,
            fit_timeout_seconds=settings.fit_timeout_seconds,
            start_method=settings.start_method,  # type: ignore[arg-type]
            memory_limit_bytes=settings.memory_limit_bytes,
        )

    def welcome(self, link: Link, greeting: Greeting) -> Greeting:
        """Take in what a node says of itself and answer with how to work.

        Returns
        -------
        greeting : Greeting
            What it said, fit for a terminal.

        Raises
        ------
        LinkFailure
            If it may not work for this driver.
        """
        if link.greeting is not None:
            # One for each driver: when there is a new one, the agent's keeper begins anew.
            raise LinkFailure(Gone("it said twice what it is"), cure="machine")
        greeting = _cleaned(greeting)
        try:
            check_greeting(link.name, greeting, self._versions)
        except HandshakeError as error:
            raise LinkFailure(Gone(str(error), error), cure="nothing") from error
        link.greeting = greeting
        link.holds_blobs(greeting.blobs)
        self._listener.node_greeted(link.name, greeting)
        link.send(self._setup)
        return greeting

    def open_on(self, link: Link, work: RoundInProgress) -> None:
        """Send a node what it needs for a round, once; not before it greeted, nor if it leaves."""
        if link.greeting is None or link.leaving or link.opened_round == work.serial:
            return
        link.opened_round = work.serial
        link.wanted = 0
        self._listener.node_changed(link.name, "receiving")
        blobs = work.blobs
        order = OpenRound(
            round=work.serial,
            data=link.send_blob(blobs.data, offered=blobs.data.size >= ASKED_FROM_BYTES),
            search=link.send_blob(blobs.search),
            plan=link.send_blob(blobs.plan),
            keeps=work.plan.sharing.on_nodes,
        )
        link.send(order)
        link.keep_blobs({order.data, order.search, order.plan})

    def tell_progress(self, link: Link, beat: Heartbeat) -> None:
        """Say how much of the data a node has by its heartbeat."""
        if beat.receiving is not None:
            percent = f"{100 * beat.receiving:.0f} %"
            self._listener.node_changed(link.name, f"receiving {percent}")
        elif link.receives:
            self._listener.node_changed(link.name, "loading")
        link.receives = beat.receiving is not None


def _cleaned(greeting: Greeting) -> Greeting:
    """What a node says of itself ends up in tables: short, and nothing but text."""
    return msgspec.structs.replace(
        greeting,
        host=printable(greeting.host, MOST_NAMED),
        cpu=printable(greeting.cpu, MOST_NAMED),
        machine=printable(greeting.machine, MOST_NAMED),
        versions={
            printable(name, MOST_NAMED): printable(version, MOST_NAMED)
            for name, version in list(greeting.versions.items())[:MOST_VERSIONS]
        },
    )
