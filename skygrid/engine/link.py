"""The driver's side of one node: its channel, the threads that serve it, its state."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Literal

import msgspec

from skygrid.engine.kept_blobs import KeptBlobs
from skygrid.engine.preparation import Preparation
from skygrid.engine.room import Room
from skygrid.environment.credentials import MaskedLines, masked
from skygrid.errors import NodeError, ProtocolError, SkygridError, reason
from skygrid.nodes.interface import ON_NODE, Transport, Watcher
from skygrid.util.terminal import printable
from skygrid.worker.limits import MAX_FIRST_FRAME, MAX_FRAME
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.frames import FrameError, FrameReader, encode
from skygrid.worker.wire.messages.from_agent import (
    AgentLog,
    BlobWanted,
    FromAgent,
    Greeting,
    Heartbeat,
)
from skygrid.worker.wire.messages.to_agent import (
    BlobAt,
    BlobChunk,
    BlobOffer,
    CloseRound,
    DropBlobs,
)

LOGGER = logging.getLogger(__name__)

LOG_LIMIT_BYTES = 64 * 1024 * 1024
"""Maximum size of a node's log: fits that print must not fill the driver's disk."""


TAIL_BYTES = 2000

FREE_MESSAGES, MESSAGES_PER_SECOND, MESSAGES_PER_LEASE = 1000, 100.0, 20
"""Limits on an agent's messages, printed lines excepted; a correct agent stays far below."""

MOST_TRANSFERS = 3
"""Transfers of the same data to a node that keeps receiving it damaged."""


class Gone(msgspec.Struct, frozen=True):
    """The channel of a node has ended, or could not be opened."""

    reason: str
    error: SkygridError | None = None
    at_fault: bool = False
    """True if the node broke the protocol or sent false messages: no fit can have caused it."""


Cure = Literal["agent", "machine", "nothing"]
"""Replacement for a failed node: a new agent there, only another machine, or none."""


class LinkFailure(Exception):
    """A node must be given up: it may not work here, or sent a message that cannot be true.

    Parameters
    ----------
    cure : {"agent", "machine", "nothing"}, default="agent"
        The replacement that may work.
    """

    def __init__(self, gone: Gone, *, cure: Cure = "agent") -> None:
        super().__init__(gone.reason)
        self.gone, self.cure = gone, cure


class NodeState(msgspec.Struct, frozen=True):
    """State of a node before it works, or while its connection is restored."""

    text: str


@dataclass(frozen=True)
class Event:
    """A message from a node."""

    link: Link
    message: Any
    """One of `worker.wire.messages.from_agent.FromAgent`, `NodeState` or `Gone`."""

    n_bytes: int = 0
    """Size of the message on the wire."""


@dataclass(frozen=True)
class _Offer:
    """Data to send as far as the node does not have it."""

    blob: Blob


class NodeLog:
    """Log output of a node, kept in memory until the run's folder is known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._early = bytearray()
        self._last = b""
        self._written = 0
        self._masked = MaskedLines()

    def open(self, path: Path) -> None:
        """Write to this file from now on, after the output so far."""
        with self._lock:
            if self._file is None:
                self._file = path.open("ab", buffering=0)
                self._file.write(self._early)
                self._early.clear()

    def write(self, data: bytes) -> None:
        """Add output of the node."""
        with self._lock:
            self._last = (self._last + data)[-TAIL_BYTES:]
            self._keep(self._masked.feed(data))

    def note(self, line: str) -> None:
        """Add a line of the driver; `tail` leaves it out."""
        with self._lock:
            self._keep(f"{line}\n".encode())

    def _keep(self, data: bytes) -> None:
        if self._written + len(data) > LOG_LIMIT_BYTES:
            return
        self._written += len(data)
        if self._file is None:
            self._early += data
            return
        try:
            self._file.write(data)
        except OSError:
            # A log that cannot be written must not stop the fits; the journal reports a full disk.
            self._written = LOG_LIMIT_BYTES

    def tail(self, lines: int = 5) -> str:
        """Return the last lines of the node's output."""
        with self._lock:
            text = masked(self._last.decode(errors="replace"))
            return printable("\n".join(text.splitlines()[-lines:]))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._keep(self._masked.end())
            if self._file is not None:
                self._file.close()
                self._file = None


class Link:
    """One node: threads move bytes, the engine's thread reads and changes everything else.

    Parameters
    ----------
    make : callable
        Makes the node's transport; the link is its watcher.
    inbox : SimpleQueue of Event
        Receives the messages of all nodes.
    clock : callable, optional
        Returns the monotonic time.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[str, Watcher], Transport],
        inbox: SimpleQueue[Event | None],
        log: NodeLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._clock = clock
        self.node_log = log
        self.transport = make(name, self)
        self.up = False
        """True once the agent was started or found."""

        self.greeting: Greeting | None = None
        self.opened_round = -1
        self.ready_round = -1
        self.received: float | None = None
        """Part of the data that the node had at its last heartbeat; None if none was arriving."""

        self.sent_bytes = 0
        """Bytes that the node has taken; counted on the writer's thread."""

        self.uploads = False
        """True while data is brought to a place from which the node can fetch it."""

        self.preparation = Preparation(since=clock())

        self.leaving = False
        """True if its machine is about to be taken away: it gets no more work."""

        self.wanted = 0
        """Leases that the node asked for and has not got."""

        self._started = self.heard = clock()
        """Time of the node's last message; before the first one, time of its start."""

        self.granted = 0
        """Number of tasks leased to the node."""

        self.call_blobs = KeptBlobs()
        """Blobs of calls that the node has."""

        self._said = 0
        self._closed = False
        self._room = Room()
        self._beat_lock = threading.Lock()
        self._beat: Heartbeat | None = None
        self._inbox = inbox
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._sent_blobs: set[str] = set()
        self._at_node: set[str] = set()
        """Blobs that the agent uses as files of its machine, until the round is over."""

        self._unopened: dict[str, list[Blob]] = {}
        """Blobs whose files the agent has yet to open, once for each message that names the file; a
        file is deleted with its blob."""

        self._offered: Blob | None = None
        self._answers_due = 0
        self._answers: SimpleQueue[int | None] = SimpleQueue()
        """Offset from which the offered blob is wanted; None: the channel has ended."""

    def start(self) -> None:
        """Start the agent and the threads; messages arrive in the inbox."""
        self._thread(self._serve, "reader")

    def _thread(self, target: Any, role: str) -> None:
        threading.Thread(target=target, name=f"{self.name}-{role}", daemon=True).start()

    # -- from the transport

    def state(self, text: str) -> None:
        """Report the node's state to the engine's thread and to the node's log."""
        self.node_log.note(f"{time.strftime('%H:%M:%S')} {text}")
        self._inbox.put(Event(self, NodeState(text)))

    def log(self, data: bytes) -> None:
        """Take output of the node, or of its preparation."""
        self.node_log.write(data)

    def took(self, event: Event) -> None:
        """Make room for another message: the engine has taken this one from the inbox."""
        self._room.give_back(event.n_bytes)

    def take_beat(self) -> Heartbeat:
        """Return the newest heartbeat; older ones are dropped."""
        with self._beat_lock:
            beat, self._beat = self._beat, None
        assert beat is not None, "one event for each heartbeat that is taken"
        return beat

    # -- to the node

    def send(self, message: Any) -> None:
        """Queue a message. Messages leave in order."""
        self._outbox.put(message)

    def send_blob(self, blob: Blob, *, offered: bool = False) -> str:
        """Queue a blob, unless it was sent before; return its name for `OpenRound`.

        Parameters
        ----------
        offered : bool, default=False
            Ask first how much of the blob the node has kept.
        """
        shared = self.transport.shares_files
        name = blob.token if shared else blob.digest
        if name not in self._sent_blobs:
            self._sent_blobs.add(name)
            if shared:
                self._unopened.setdefault(name, []).append(blob)
                self._outbox.put(BlobAt(name=name, size=blob.size, path=blob.path))
            else:
                self._outbox.put(_Offer(blob) if offered else blob)
        return name

    def holds_blobs(self, names: Iterable[str]) -> None:
        """Note blobs that the node kept from an earlier driver."""
        self._sent_blobs |= set(names)

    def keep_blobs(self, names: set[str]) -> None:
        """Note that the node drops all other blobs: they must be sent again when needed."""
        self._sent_blobs &= names
        if not names.issuperset(self.call_blobs.names):
            self.call_blobs.clear()

    def drop_blobs(self, names: Sequence[str]) -> None:
        """Make the node drop these blobs of calls."""
        if names:
            self.send(DropBlobs(names=list(names)))
            self._sent_blobs.difference_update(names)
            self.call_blobs.forget(names)

    def close_round(self, serial: int) -> None:
        """Tell the node that a round is over, if the node has opened it."""
        if self.opened_round == serial:
            self.send(CloseRound(round=serial))
            if self.transport.shares_files:
                # The node closes the files, so X takes no memory while no round is open.
                self.keep_blobs(set())
            self._sent_blobs -= self._at_node

    def close(self) -> None:
        """End the channel and the agent."""
        self._closed = True
        self._outbox.put(None)
        self._answers.put(None)
        self.transport.close()

    # -- the threads

    def _serve(self) -> None:
        try:
            self.transport.start()
        except SkygridError as error:
            self._inbox.put(Event(self, Gone(str(error), error)))
            return
        except Exception as error:  # noqa: BLE001  # report any failure: the run waits for this node
            self._inbox.put(Event(self, self._unforeseen("it could not be started", error)))
            return
        self.heard, self.up = self._clock(), True
        self._thread(self._write, "writer")
        self._thread(self._drain_log, "log")
        gone = self._read_all()
        self._unopened.clear()
        self._answers.put(None)
        self._inbox.put(Event(self, gone))

    def _read_all(self) -> Gone:
        try:
            reader = FrameReader(FromAgent)
            while data := self.transport.read():
                # A node sends large messages only once it has accepted work.
                reader.most_bytes = MAX_FIRST_FRAME if self.greeting is None else MAX_FRAME
                for message in reader.feed(data):
                    if self._closed:
                        return Gone("it was given up")
                    if not isinstance(message, AgentLog) and self._sends_too_much():
                        text = "it sent far more messages than its work needs"
                        return Gone(text, NodeError(text), at_fault=True)
                    if isinstance(message, BlobWanted) and self._unopened.get(message.digest):
                        self._unopened[message.digest].pop()
                        continue
                    if isinstance(message, BlobWanted) and not self._is_due(message):
                        text = "it asked for data that it was not offered"
                        return Gone(text, NodeError(text), at_fault=True)
                    self._deliver(message, reader.n_bytes)
        except FrameError as error:
            text = printable(f"node {self.name} broke the protocol: {error}")
            return Gone(text, ProtocolError(text), at_fault=True)
        except (OSError, ValueError) as error:
            return Gone(f"its channel broke: {reason(error)}")
        except Exception as error:  # noqa: BLE001  # report any failure: the run waits for this node
            return self._unforeseen("its messages could not be read", error)
        return Gone(self.transport.ended(), self.transport.error())

    def _unforeseen(self, what: str, error: Exception) -> Gone:
        """Return a `Gone` for an unexpected error in one of the node's threads."""
        if isinstance(error, SkygridError):
            return Gone(f"{what}: {error}", error)
        # The traceback goes to the log; the user sees one line.
        self.node_log.write("".join(traceback.format_exception(error)).encode())
        text = f"{what}: {type(error).__name__}: {error}"
        return Gone(text, NodeError(text))

    def _sends_too_much(self) -> bool:
        self._said += 1
        allowed = FREE_MESSAGES + MESSAGES_PER_LEASE * self.granted
        if self._said <= allowed:
            return False
        return self._said > allowed + MESSAGES_PER_SECOND * (self._clock() - self._started)

    def _is_due(self, wanted: BlobWanted) -> bool:
        blob = self._offered
        self._answers_due -= 1
        if blob is None or self._answers_due < 0:
            return False
        return wanted.digest == blob.digest and wanted.offset <= blob.size

    def _deliver(self, message: Any, n_bytes: int) -> None:
        if isinstance(message, AgentLog):
            self.node_log.write(f"{message.text}\n".encode())
        elif isinstance(message, BlobWanted):
            self._answers.put(message.offset)
        elif isinstance(message, Heartbeat):
            with self._beat_lock:
                waits, self._beat = self._beat is not None, message
            if not waits:
                self._inbox.put(Event(self, message))
        else:
            while not self._room.take(n_bytes, timeout=1.0):
                if self._closed:
                    return
            self._inbox.put(Event(self, message, n_bytes))

    def _write(self) -> None:
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
                gone = self._unforeseen("nothing could be sent to it", error)
                self._inbox.put(Event(self, gone))
                return

    def _write_frame(self, frame: bytes) -> None:
        self.transport.write(frame)
        self.sent_bytes += len(frame)

    def _transfer(self, blob: Blob) -> None:
        """Send the part of a blob that the node wants; return when the node has all."""
        self.uploads = True
        url = self.transport.url_of(blob) or ""
        self.uploads = False
        # One answer to the offer, and one to each transfer.
        self._offered, self._answers_due = blob, MOST_TRANSFERS + 1
        if url.startswith(ON_NODE):
            self._at_node.add(blob.digest)
            there = BlobAt(name=blob.digest, size=blob.size, path=url.removeprefix(ON_NODE))
            self.transport.write(encode(there))
        else:
            offer = BlobOffer(digest=blob.digest, size=blob.size, url=url or None)
            self.transport.write(encode(offer))
        for transfers_left in reversed(range(MOST_TRANSFERS + 1)):
            offset = self._answers.get()
            LOGGER.debug("%s has %s of %d bytes of the data", self.name, offset, blob.size)
            if offset is None or offset == blob.size:
                self._offered = None
                return
            if transfers_left:
                for frame in _chunks(blob, offset):
                    self._write_frame(frame)
        text = f"the data arrived broken {MOST_TRANSFERS} times"
        self._inbox.put(Event(self, Gone(text, NodeError(text))))

    def _drain_log(self) -> None:
        try:
            while data := self.transport.read_log():
                self.node_log.write(data)
        except (OSError, ValueError):
            return  # the channel was closed during the read


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
