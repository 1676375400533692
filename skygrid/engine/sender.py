"""The way of messages and blobs from the driver to one node."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from skygrid.engine.node_events import Gone
from skygrid.engine.node_log import NodeLog, unforeseen
from skygrid.errors import NodeError
from skygrid.nodes.interface import ON_NODE, Transport
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.frames import encode
from skygrid.worker.wire.messages.from_agent import BlobWanted
from skygrid.worker.wire.messages.to_agent import BlobAt, BlobChunk, BlobOffer

LOGGER = logging.getLogger(__name__)

MOST_TRANSFERS = 3
"""Transfers of the same data to a node that keeps receiving it damaged."""


@dataclass(frozen=True)
class _Offer:
    """Data to send as far as the node does not have it."""

    blob: Blob


class Sender:
    """Sends messages and blobs to one node, in order, on a thread of its own.

    Parameters
    ----------
    name : str
        Name of the node.
    transport : Transport
    log : NodeLog
        Receives tracebacks of unexpected errors.
    report : callable
        Called on the thread with the `Gone` of a node that nothing can be sent to.
    """

    def __init__(
        self, name: str, transport: Transport, log: NodeLog, report: Callable[[Gone], None]
    ) -> None:
        self._name = name
        self._transport = transport
        self._log = log
        self._report = report
        self.sent_bytes = 0
        """Bytes that the node has taken; counted on the thread."""

        self.uploads = False
        """True while data is brought to a place from which the node can fetch it."""

        self.at_node: set[str] = set()
        """Blobs that the agent uses as files of its machine, until the round is over."""

        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._offered: Blob | None = None
        self._answers_due = 0
        self._answers: SimpleQueue[int | None] = SimpleQueue()
        """Offset from which the offered blob is wanted; None: the channel has ended."""

    def put(self, item: Any) -> None:
        """Queue a message, or a blob to send whole."""
        self._outbox.put(item)

    def offer(self, blob: Blob) -> None:
        """Queue a blob, of which the node gets the part that it does not have."""
        self._outbox.put(_Offer(blob))

    def close(self) -> None:
        """End the thread."""
        self._outbox.put(None)
        self.end_answers()

    # -- on the thread that reads

    def is_due(self, wanted: BlobWanted) -> bool:
        """Return whether a message answers an offer; count it."""
        blob = self._offered
        self._answers_due -= 1
        if blob is None or self._answers_due < 0:
            return False
        return wanted.digest == blob.digest and wanted.offset <= blob.size

    def take_answer(self, wanted: BlobWanted) -> None:
        """Continue with the answer to an offer."""
        self._answers.put(wanted.offset)

    def end_answers(self) -> None:
        """Stop the wait for an answer: the channel has ended."""
        self._answers.put(None)

    # -- the thread

    def run(self) -> None:
        """Send what is queued until `close`."""
        while (item := self._outbox.get()) is not None:
            try:
                if isinstance(item, _Offer):
                    self._transfer(item.blob)
                    continue
                for frame in _frames(item):
                    self._write_frame(frame)
            except (OSError, ValueError):
                # The agent is gone; the reader notices too and reports it.
                return
            except Exception as error:  # noqa: BLE001  # report any failure: the agent would wait for the rest
                self._report(unforeseen(self._log, "nothing could be sent to it", error))
                return

    def _write_frame(self, frame: bytes) -> None:
        self._transport.write(frame)
        self.sent_bytes += len(frame)

    def _transfer(self, blob: Blob) -> None:
        """Send the part of a blob that the node wants; return when the node has all."""
        self.uploads = True
        url = self._transport.url_of(blob) or ""
        self.uploads = False
        # One answer to the offer, and one to each transfer.
        self._offered, self._answers_due = blob, MOST_TRANSFERS + 1
        if url.startswith(ON_NODE):
            self.at_node.add(blob.digest)
            there = BlobAt(name=blob.digest, size=blob.size, path=url.removeprefix(ON_NODE))
            self._transport.write(encode(there))
        else:
            offer = BlobOffer(digest=blob.digest, size=blob.size, url=url or None)
            self._transport.write(encode(offer))
        for transfers_left in reversed(range(MOST_TRANSFERS + 1)):
            offset = self._answers.get()
            LOGGER.debug("%s has %s of %d bytes of the data", self._name, offset, blob.size)
            if offset is None or offset == blob.size:
                self._offered = None
                return
            if transfers_left:
                for frame in _chunks(blob, offset):
                    self._write_frame(frame)
        text = f"the data arrived broken {MOST_TRANSFERS} times"
        self._report(Gone(text, NodeError(text)))


def _frames(item: Any) -> Iterator[bytes]:
    if isinstance(item, Blob):
        yield from _chunks(item, 0)
    else:
        yield encode(item)


def _chunks(blob: Blob, offset: int) -> Iterator[bytes]:
    for start, data, packed in blob.pieces(offset):
        chunk = BlobChunk(
            digest=blob.digest,
            size=blob.size,
            offset=start,
            data=data,  # type: ignore[arg-type]  # a memoryview is encoded without a copy
            packed=packed,
        )
        yield encode(chunk)
