"""The driver's side of one node: its channel, the threads that serve it, its state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any

from skygrid.engine.kept_blobs import KeptBlobs
from skygrid.engine.node_events import Event, Gone, NodeState
from skygrid.engine.node_log import NodeLog, unforeseen
from skygrid.engine.preparation import Preparation
from skygrid.engine.room import Room
from skygrid.engine.sender import Sender
from skygrid.errors import NodeError, ProtocolError, SkygridError, reason
from skygrid.nodes.interface import Transport, Watcher
from skygrid.util.terminal import printable
from skygrid.worker.limits import MAX_FIRST_FRAME, MAX_FRAME
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.frames import FrameError, FrameReader
from skygrid.worker.wire.messages.from_agent import (
    AgentLog,
    BlobWanted,
    FromAgent,
    Greeting,
    Heartbeat,
)
from skygrid.worker.wire.messages.to_agent import BlobAt, CloseRound, DropBlobs

FREE_MESSAGES, MESSAGES_PER_SECOND, MESSAGES_PER_LEASE = 1000, 100.0, 20
"""Limits on an agent's messages, printed lines excepted; a correct agent stays far below."""


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
        self._sender = Sender(name, self.transport, log, lambda gone: inbox.put(Event(self, gone)))
        self._sent_blobs: set[str] = set()
        self._unopened: dict[str, list[Blob]] = {}
        """Blobs whose files the agent has yet to open, once for each message that names the file; a
        file is deleted with its blob."""

    @property
    def sent_bytes(self) -> int:
        """Bytes that the node has taken."""
        return self._sender.sent_bytes

    @property
    def uploads(self) -> bool:
        """True while data is brought to a place from which the node can fetch it."""
        return self._sender.uploads

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
        self._sender.put(message)

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
                self._sender.put(BlobAt(name=name, size=blob.size, path=blob.path))
            elif offered:
                self._sender.offer(blob)
            else:
                self._sender.put(blob)
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
            self._sent_blobs -= self._sender.at_node

    def close(self) -> None:
        """End the channel and the agent."""
        self._closed = True
        self._sender.close()
        self.transport.close()

    # -- the threads

    def _serve(self) -> None:
        try:
            self.transport.start()
        except SkygridError as error:
            self._inbox.put(Event(self, Gone(str(error), error)))
            return
        except Exception as error:  # noqa: BLE001  # report any failure: the run waits for this node
            self._inbox.put(
                Event(self, unforeseen(self.node_log, "it could not be started", error))
            )
            return
        self.heard, self.up = self._clock(), True
        self._thread(self._sender.run, "writer")
        self._thread(self._drain_log, "log")
        gone = self._read_all()
        self._unopened.clear()
        self._sender.end_answers()
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
                    if isinstance(message, BlobWanted) and not self._sender.is_due(message):
                        text = "it asked for data that it was not offered"
                        return Gone(text, NodeError(text), at_fault=True)
                    self._deliver(message, reader.n_bytes)
        except FrameError as error:
            text = printable(f"node {self.name} broke the protocol: {error}")
            return Gone(text, ProtocolError(text), at_fault=True)
        except (OSError, ValueError) as error:
            return Gone(f"its channel broke: {reason(error)}")
        except Exception as error:  # noqa: BLE001  # report any failure: the run waits for this node
            return unforeseen(self.node_log, "its messages could not be read", error)
        return Gone(self.transport.ended(), self.transport.error())

    def _sends_too_much(self) -> bool:
        self._said += 1
        allowed = FREE_MESSAGES + MESSAGES_PER_LEASE * self.granted
        if self._said <= allowed:
            return False
        return self._said > allowed + MESSAGES_PER_SECOND * (self._clock() - self._started)

    def _deliver(self, message: Any, n_bytes: int) -> None:
        if isinstance(message, AgentLog):
            self.node_log.write(f"{message.text}\n".encode())
        elif isinstance(message, BlobWanted):
            self._sender.take_answer(message)
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

    def _drain_log(self) -> None:
        try:
            while data := self.transport.read_log():
                self.node_log.write(data)
        except (OSError, ValueError):
            return  # the channel was closed during the read
