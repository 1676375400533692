"""The channel to an agent through a gateway."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue

from skygrid.config import limits
from skygrid.errors import NodeError
from skygrid.nodes.gateway.carrier import DATA, ENDED, HEADER, LOG, STARTED, STATE, STORED
from skygrid.nodes.gateway.process import Connection, Gateway
from skygrid.nodes.interface import ON_NODE, Watcher
from skygrid.worker.wire.blobs import Blob

READ_BYTES = 1 << 18
HEADER_BYTES = struct.calcsize(HEADER)


class GatewayChannel:
    """An agent on a node of a cluster.

    Parameters
    ----------
    gateway : Gateway
    index : int
        Number of the node, from 0.
    watcher : Watcher
        Receives states of the node and the agent's log.
    """

    shares_files = False

    def __init__(self, gateway: Gateway, index: int, watcher: Watcher) -> None:
        self._gateway = gateway
        self._index = index
        self._watcher = watcher
        self._connection: Connection | None = None
        self._number = -1
        self._socket: socket.socket | None = None
        self._parcels: Iterator[tuple[bytes, bytes]] = iter(())
        self._reading = threading.Lock()
        self._paths: SimpleQueue[str | None] = SimpleQueue()
        self._end = ""
        self._closing = threading.Lock()
        self._closed = self._started = self._killed = False
        self._over = threading.Event()

    # -- the start

    def start(self) -> None:
        """Wait for a place on the cluster and for the agent.

        Raises
        ------
        NodeError
            If the cluster cannot be reached or gives no node, or no agent starts there.
        """
        self._refuse_closed()
        self._watcher.state("connecting")
        connection = self._gateway.connection()
        with self._closing:
            self._refuse_closed()
            self._connection = connection
            self._number, self._socket = connection.open(self._index)
        self._parcels = self._received(self._socket)
        with self._reading:
            kind = self._next((STARTED,))[0]
        if kind != STARTED:
            raise NodeError("it was given up" if self._closed else self.ended())
        self._started = True

    def _refuse_closed(self) -> None:
        if self._closed:
            raise NodeError("the agent was not started: its channel was closed")

    # -- parcels

    def _received(self, end: socket.socket) -> Iterator[tuple[bytes, bytes]]:
        """Yield kind and content of each parcel until the end."""
        data = bytearray()
        while True:
            while len(data) >= HEADER_BYTES:
                kind, size = struct.unpack_from(HEADER, data)
                end_of_parcel = HEADER_BYTES + size
                if len(data) < end_of_parcel:
                    break
                content = bytes(data[HEADER_BYTES:end_of_parcel])
                del data[:end_of_parcel]
                yield kind, content
            try:
                received = end.recv(READ_BYTES)
            except OSError:  # the gateway is gone
                return
            if not received:
                return
            data += received

    def _next(self, wanted: tuple[bytes, ...]) -> tuple[bytes, bytes]:
        """Return the next parcel of the wanted kinds, or `ENDED`; pass on all others."""
        for kind, content in self._parcels:
            if kind in wanted:
                return kind, content
            if kind == LOG:
                self._watcher.log(content)
            elif kind == STATE:
                self._watcher.state(content.decode(errors="replace"))
            elif kind == STORED:
                self._paths.put(content.decode(errors="replace"))
            elif kind == ENDED:
                self._end = content.decode(errors="replace")
        self._over.set()
        self._paths.put(None)
        return ENDED, b""

    def read(self) -> bytes:
        """Return bytes from the agent; empty at the end."""
        with self._reading:
            return self._next((DATA,))[1]

    def read_log(self) -> bytes:
        """Wait for the end of the log, which the watcher receives."""
        self._over.wait()
        return b""

    def write(self, data: bytes) -> None:
        """Send bytes to the agent."""
        if self._socket is None or self._closed:
            raise BrokenPipeError("the channel was closed")
        self._socket.sendall(data)

    def url_of(self, blob: Blob) -> str | None:
        """Return the `ON_NODE` URL of a blob that the cluster has brought to the node."""
        if self._connection is None or self._over.is_set():
            return None
        with suppress(NodeError):  # the gateway has ended, and `read` reports it
            self._connection.store(self._number, blob)
            path = self._paths.get()
            return f"{ON_NODE}{path}" if path else None
        return None

    # -- the end

    def mending(self) -> bool:
        """Return False: the channel cannot be repaired."""
        return False

    def ended(self) -> str:
        """Return how the agent or its carrier ended."""
        if self._end or self._connection is None:
            return self._end or "it was never started"
        return "it was given up" if self._killed else self._connection.how_it_ended()

    def error(self) -> NodeError | None:
        """Return None: another agent can be started."""
        return None

    def kill(self) -> None:
        """End the agent and its carrier at once."""
        if self._connection is not None and self._socket is not None:
            self._killed = True
            self._connection.kill(self._number)
            with suppress(OSError):  # the other end is closed
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the agent's input, which ends it; wait for the end."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        if self._socket is None:
            self._over.set()
            return
        if not self._started:
            self.kill()  # it may wait for a place
        with suppress(OSError):  # the other end is closed
            self._socket.shutdown(socket.SHUT_WR)
        self._await_end(time.monotonic() + limits.AGENT_END + limits.STREAM_END)
        self.kill()
        self._over.set()
        if self._reading.acquire(timeout=limits.STREAM_END):
            self._socket.close()
            self._parcels = iter(())
            self._reading.release()

    def _await_end(self, until: float) -> None:
        """Wait until the gateway has ended the agent, in the reading thread or here."""
        assert self._socket is not None
        while not self._over.is_set() and (left := until - time.monotonic()) > 0:
            if self._reading.acquire(blocking=False):
                try:
                    self._socket.settimeout(left)
                    self._next(())
                finally:
                    self._reading.release()
                return
            self._over.wait(min(left, 0.05))
