"""Messages that prepare a node for work: setup, data, search and round."""

from __future__ import annotations

import msgspec

from skygrid.config import limits
from skygrid.engine.link import Link
from skygrid.engine.node_events import Gone, LinkFailure
from skygrid.engine.preparation import Preparation
from skygrid.engine.round import Round
from skygrid.engine.settings import EngineSettings
from skygrid.errors import HandshakeError
from skygrid.listener import Listener
from skygrid.nodes.handshake import check_greeting
from skygrid.util.terminal import printable
from skygrid.worker.machine import machine
from skygrid.worker.wire.messages.from_agent import Greeting, Heartbeat
from skygrid.worker.wire.messages.to_agent import OpenRound, Setup
from skygrid.worker.wire.protocol import PROTOCOL

MOST_CHARACTERS, MOST_VERSIONS = 200, 50
"""Maximum length of a name or version that a node sends, and maximum number of versions."""


OFFERED_FROM_BYTES = 64 * 1024
"""Data of this size or more is offered first, because the node may have it. For less, the answer
would take longer than the transfer.
"""


class Onboarding:
    """Prepares nodes for rounds and reports their progress."""

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
        """Accept a node's greeting and send it the setup.

        Returns
        -------
        greeting : Greeting
            The greeting, safe for a terminal.

        Raises
        ------
        LinkFailure
            If the node may not work for this driver.
        """
        if link.greeting is not None:
            # Each driver gets one greeting: for a new driver the keeper starts a new agent.
            raise LinkFailure(Gone("it sent two greetings", at_fault=True), cure="machine")
        greeting = _made_printable(greeting)
        try:
            check_greeting(link.name, greeting, self._versions)
        except HandshakeError as error:
            raise LinkFailure(Gone(str(error), error), cure="nothing") from error
        link.greeting = greeting
        link.holds_blobs(greeting.blobs)
        self._listener.node_greeted(link.name, greeting)
        link.send(self._setup)
        return greeting

    def open_on(self, link: Link, work: Round, now: float) -> None:
        """Send a node the contents of a round, once; not before its greeting, nor if it leaves."""
        if link.greeting is None or link.leaving or link.opened_round == work.serial:
            return
        link.opened_round = work.serial
        link.preparation = Preparation(since=now, sent_bytes=link.sent_bytes)
        link.wanted = 0
        self._listener.node_changed(link.name, "receiving")
        blobs = work.blobs
        order = OpenRound(
            round=work.serial,
            data=link.send_blob(blobs.data, offered=blobs.data.size >= OFFERED_FROM_BYTES),
            search=link.send_blob(blobs.search),
            plan=link.send_blob(blobs.plan),
            keeps=work.keeps,
            calls=work.calls,
            blobs=link.call_blobs.names if work.calls else (),
            environment=dict(blobs.environment),
        )
        link.send(order)
        link.keep_blobs({order.data, order.search, order.plan, *order.blobs})

    def tell_progress(self, link: Link, beat: Heartbeat) -> None:
        """Report how much of the data has arrived, from a heartbeat."""
        if beat.receiving is not None:
            percent = f"{100 * beat.receiving:.0f} %"
            self._listener.node_changed(link.name, f"receiving {percent}")
        elif link.received is not None:
            self._listener.node_changed(link.name, "loading")
        link.received = beat.receiving


def _made_printable(greeting: Greeting) -> Greeting:
    """Shorten a greeting and make it printable: it is shown in tables."""
    return msgspec.structs.replace(
        greeting,
        host=printable(greeting.host, MOST_CHARACTERS),
        cpu=printable(greeting.cpu, MOST_CHARACTERS),
        machine=printable(greeting.machine, MOST_CHARACTERS),
        versions={
            printable(name, MOST_CHARACTERS): printable(version, MOST_CHARACTERS)
            for name, version in list(greeting.versions.items())[:MOST_VERSIONS]
        },
    )
