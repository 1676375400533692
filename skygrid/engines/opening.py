"""What a node is told before it can work: how to work, then the data, the search and the round."""

from __future__ import annotations

from skygrid.engines.handshake import check_greeting
from skygrid.engines.link import Gone, Link, LinkFailure
from skygrid.engines.open_round import RoundInProgress
from skygrid.engines.settings import EngineSettings
from skygrid.errors import HandshakeError
from skygrid.listener import Listener
from skygrid.worker import machine
from skygrid.worker.blobs import Blob
from skygrid.worker.messages import PROTOCOL, Greeting, Heartbeat, OpenRound, Setup


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
            fit_timeout_seconds=settings.fit_timeout_seconds,
            start_method=settings.start_method,  # type: ignore[arg-type]
            memory_limit_bytes=settings.memory_limit_bytes,
        )
        self._data_and_search: tuple[Blob, Blob] | None = None

    def use(self, data: Blob, search: Blob) -> None:
        """The data and the search that all following rounds are about."""
        self._data_and_search = (data, search)

    def welcome(self, link: Link, greeting: Greeting) -> None:
        """Take in what a node says of itself and answer with how to work.

        Raises
        ------
        LinkFailure
            If it may not work for this driver.
        """
        try:
            check_greeting(link.name, greeting, self._versions)
        except HandshakeError as error:
            raise LinkFailure(Gone(str(error), error), replace=False) from error
        link.greeting = greeting
        link.holds_blobs(greeting.blobs)
        self._listener.node_greeted(link.name, greeting)
        link.send(self._setup)

    def open_on(self, link: Link, work: RoundInProgress) -> None:
        """Send a node what it needs for a round, once; none before it has greeted."""
        if link.greeting is None or self._data_and_search is None:
            return
        if link.opened_round == work.serial:
            return
        link.opened_round = work.serial
        link.wanted = 0
        self._listener.node_changed(link.name, "receiving")
        data = link.send_blob(self._data_and_search[0], offered=True)
        search, plan = map(link.send_blob, (self._data_and_search[1], work.blob))
        link.send(OpenRound(round=work.serial, data=data, search=search, plan=plan))
        link.keep_blobs({data, search, plan})

    def tell_progress(self, link: Link, beat: Heartbeat) -> None:
        """Say how much of the data a node has by its heartbeat."""
        if beat.receiving is not None:
            percent = f"{100 * beat.receiving:.0f} %"
            self._listener.node_changed(link.name, f"receiving {percent}")
        elif link.receives:
            self._listener.node_changed(link.name, "loading")
        link.receives = beat.receiving is not None
