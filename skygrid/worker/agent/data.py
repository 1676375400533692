"""Reception of a search's data: found in the cache, fetched from a URL, or sent by the driver."""

from __future__ import annotations

import platform
import selectors

import msgspec

from skygrid.worker.data.cache import BlobCache, size_text
from skygrid.worker.data.fetch import Fetch
from skygrid.worker.data.store import BlobStore
from skygrid.worker.errors import UnableError
from skygrid.worker.machine import machine
from skygrid.worker.wire.blobs import BlobError
from skygrid.worker.wire.messages.from_agent import AgentLog, BlobWanted
from skygrid.worker.wire.messages.to_agent import BlobAt, BlobChunk, BlobOffer

from .driver_link import DriverLink


class AgentData:
    """Receives the blobs that the driver offers, and stores them for the rounds.

    Parameters
    ----------
    cache : BlobCache or None
        Keeps data for later runs.
    driver : DriverLink
    selector : BaseSelector
        Selector of the agent; calls a method of this object when data arrives from a URL.
    """

    def __init__(
        self, cache: BlobCache | None, driver: DriverLink, selector: selectors.BaseSelector
    ) -> None:
        if cache is not None:
            cache.tidy()
        self.store = BlobStore(cache)
        self._driver = driver
        self._selector = selector
        self._fetch: Fetch | None = None
        self._offer = BlobOffer(digest="", size=0)

    def forget_driver(self) -> None:
        """Forget the offer of the previous driver."""
        self.close()
        self._offer = BlobOffer(digest="", size=0)

    def close(self) -> None:
        """Stop fetching."""
        if self._fetch is not None:
            self._selector.unregister(self._fetch.source)
            self._fetch.close()
            self._fetch = None

    def offered(self, offer: BlobOffer) -> None:
        """Begin to look for offered data; `turn` sends the answer.

        Raises
        ------
        UnableError
            If the node has too little memory.
        """
        # Slots share the pages of X, but each fit copies its rows: if X itself does not fit into
        # memory, no fit can run.
        held = offer.digest in self.store.complete
        available = machine.available_bytes()
        if not held and available is not None and available < offer.size:
            raise UnableError(
                f"host {platform.node()} has {size_text(available)} of memory left and the data "
                f"takes {size_text(offer.size)}: end what else runs there, or leave the host out"
            )
        self.close()
        self._offer = offer
        self.store.offer(offer)

    def turn(self) -> None:
        """Continue to look for the offered data; when done, answer or start to fetch."""
        if not self.store.looking:
            return
        try:
            answer = self.store.look()
        except BlobError as error:
            raise UnableError(str(error)) from error
        if answer is None:
            return
        if self._offer.url is None or answer.offset == self._offer.size:
            self._driver.send(answer)
            return
        self._fetch = Fetch(self._offer, answer.offset)
        self._selector.register(self._fetch.source, selectors.EVENT_READ, self._take_fetched)

    def _take_fetched(self) -> None:
        """Store data that has arrived from the URL; ask the driver if the URL fails."""
        fetch = self._fetch
        assert fetch is not None
        offset, data = fetch.position, fetch.read()
        offer = fetch.offer
        if not data:
            self._send_instead("it could not be fetched as a whole")
            return
        chunk = BlobChunk(digest=offer.digest, size=offer.size, offset=offset, data=data)
        try:
            answer = self.store.receive(chunk)
        except BlobError as error:
            self._send_instead(str(error))
            return
        if fetch.position == offer.size:
            self.close()
            # Without an answer, the fetched data was not the offered data: look for it again.
            self._offer = msgspec.structs.replace(offer, url=None)
        if answer is not None:
            self._driver.send(answer)

    def _send_instead(self, reason: str) -> None:
        """Ask the driver to send the data instead of fetching it."""
        self.close()
        self._driver.send(AgentLog(text=f"the data is sent over this connection: {reason}"))
        self._offer = msgspec.structs.replace(self._offer, url=None)
        self.store.drop_partial()
        self.store.offer(self._offer)

    def receive(self, blob: BlobChunk | BlobAt) -> None:
        """Store a part of a blob, or adopt the driver's file of one.

        Raises
        ------
        UnableError
            If the blob cannot be stored or read.
        """
        try:
            if isinstance(blob, BlobAt):
                self.store.adopt(blob)
                # The driver may now close its file.
                self._driver.send(BlobWanted(digest=blob.name, offset=blob.size))
            elif answer := self.store.receive(blob):
                self._driver.send(answer)
        except BlobError as error:
            raise UnableError(str(error)) from error
