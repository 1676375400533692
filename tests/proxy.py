"""A TCP proxy that misbehaves on demand: slow, cut, refusing, flipping a bit.

It stands between a client and a real server. One thread runs a selector loop that owns all sockets.
Calls from tests run in that loop, and return when they are done.
"""

from __future__ import annotations

import queue
import selectors
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Literal

Direction = Literal["up", "down"]
"""Up is from the client to the target."""

CHUNK_BYTES = 65536

QUEUE_BYTES = 64 << 20
"""Limit of the bytes held per direction; large, so that a delay does not limit the bandwidth."""


class _Line:
    """One direction of one connection: received bytes, and the times at which they are due."""

    def __init__(self, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        self.direction = direction
        self.source = source
        self.target = target
        self.queue: deque[tuple[float, bytes]] = deque()  # an empty item is the end of the stream
        self.queued = 0
        self.source_ended = False
        self.done = False


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.connecting = True
        self.up = _Line("up", client, server)
        self.down = _Line("down", server, client)
        self.lines = (self.up, self.down)


class FaultProxy:
    """Forwards TCP connections to `target_host`:`target_port`, with the faults that are set.

    `delay` is one way, in seconds; it does not limit the bandwidth, and may be set at any time.
    `bytes_up` and `bytes_down` count delivered bytes, `connections` counts accepted connections,
    `corrupted` counts flipped bits. The loop answers for them, so that bytes which a client has
    received are always counted.
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        *,
        delay: float = 0.0,
    ) -> None:
        self.target = (target_host, target_port)
        self.delay = delay
        self._counts = Counter[str]()
        self._corrupt: dict[Direction, int] = {}
        self._open: set[_Connection] = set()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._listener: socket.socket | None = _listening("127.0.0.1", 0)
        self.address, self.port = self._listener.getsockname()[:2]
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- calls of tests -------------------------------------------------------------------------

    @property
    def bytes_up(self) -> int:
        return self._count("up")

    @property
    def bytes_down(self) -> int:
        return self._count("down")

    @property
    def connections(self) -> int:
        return self._count("connections")

    @property
    def corrupted(self) -> int:
        return self._count("corrupted")

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def cut(self) -> None:
        """Reset every connection now."""
        self._do(self._cut_all)

    def refuse(self) -> None:
        """Make the kernel refuse new connections; open ones stay."""
        self._do(self._stop_listening)

    def accept(self) -> None:
        """Accept new connections again, on the same port."""
        self._do(self._start_listening)

    def corrupt(self, direction: Direction, after_bytes: int = 0) -> None:
        """Flip one bit in the byte after the next `after_bytes` of this direction, once."""
        self._do(lambda: self._corrupt.__setitem__(direction, after_bytes))

    def close(self) -> None:
        """End every connection, the listener and the thread."""
        if not self._closed:
            self._do(self._end)
            self._thread.join()
            for end in (self._wake_read, self._wake_write):
                end.close()

    def _count(self, name: str) -> int:
        self._do(lambda: None)  # the loop counts what it has just sent
        return self._counts[name]

    def _do(self, call: Callable[[], None]) -> None:
        """Run a call in the loop and wait for it; a closed proxy does nothing."""
        if self._closed:
            return
        done = threading.Event()

        def run() -> None:
            try:
                call()
            finally:
                done.set()

        self._calls.put(run)
        self._wake_write.send(b"\0")
        done.wait(30)

    # ---- loop -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            # Use one time for both: bytes that fall due in between would be missed by both.
            now = time.monotonic()
            self._register(self._wanted(now))
            for key, _ in self._selector.select(self._pause(now)):
                if key.fileobj is self._wake_read:
                    self._wake_read.recv(4096)
            while not self._calls.empty():
                self._calls.get()()
            if not self._closed:
                self._take_connections()
                for connection in list(self._open):
                    self._move(connection)
        self._selector.close()

    def _wanted(self, now: float) -> dict[Any, int]:
        """Return the events that the loop can process now; others would make it spin."""
        wanted: dict[Any, int] = {self._wake_read: selectors.EVENT_READ}
        if self._listener is not None:
            wanted[self._listener] = selectors.EVENT_READ
        for connection in self._open:
            if connection.connecting:
                wanted[connection.server] = selectors.EVENT_WRITE
                continue
            for line in connection.lines:
                if self._may_read(line):
                    wanted[line.source] = wanted.get(line.source, 0) | selectors.EVENT_READ
                if line.queue and line.queue[0][0] <= now:
                    wanted[line.target] = wanted.get(line.target, 0) | selectors.EVENT_WRITE
        return wanted

    def _register(self, wanted: dict[Any, int]) -> None:
        known = {key.fileobj: key.events for key in self._selector.get_map().values()}
        for end in known.keys() - wanted.keys():
            self._selector.unregister(end)
        for end, events in wanted.items():
            if end not in known:
                self._selector.register(end, events)
            elif known[end] != events:
                self._selector.modify(end, events)

    def _pause(self, now: float) -> float | None:
        """Return the seconds until bytes fall due; None if none are waiting."""
        moments = [
            line.queue[0][0]
            for connection in self._open
            for line in connection.lines
            if line.queue and line.queue[0][0] > now
        ]
        return max(0.0, min(moments) - now) if moments else None

    def _may_read(self, line: _Line) -> bool:
        return not line.source_ended and line.queued < QUEUE_BYTES

    def _take_connections(self) -> None:
        while self._listener is not None:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._counts["connections"] += 1
            self._open.add(_Connection(client, server))
            server.connect_ex(self.target)

    def _move(self, connection: _Connection) -> None:
        try:
            if connection.connecting:
                error = connection.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "the target refuses")
                try:
                    connection.server.getpeername()
                except OSError:
                    return
                connection.connecting = False
            for line in connection.lines:
                self._receive(line)
                self._deliver(line)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection, reset=True)
            return
        if connection.up.done and connection.down.done:
            self._drop(connection, reset=False)

    def _receive(self, line: _Line) -> None:
        if not self._may_read(line):
            return
        try:
            data = line.source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        line.source_ended = not data
        line.queue.append((self._due(line), self._flipped(line.direction, data)))
        line.queued += len(data)

    def _due(self, line: _Line) -> float:
        last = line.queue[-1][0] if line.queue else 0.0
        return max(time.monotonic() + self.delay, last)  # a shorter delay does not reorder bytes

    def _flipped(self, direction: Direction, data: bytes) -> bytes:
        left = self._corrupt.get(direction)
        if left is None:
            return data
        if left >= len(data):
            self._corrupt[direction] = left - len(data)
            return data
        del self._corrupt[direction]
        self._counts["corrupted"] += 1
        changed = bytearray(data)
        changed[left] ^= 1
        return bytes(changed)

    def _deliver(self, line: _Line) -> None:
        while line.queue and line.queue[0][0] <= time.monotonic():
            due, data = line.queue[0]
            if not data:
                line.queue.popleft()
                line.done = True
                line.target.shutdown(socket.SHUT_WR)
                return
            try:
                sent = line.target.send(data)
            except BlockingIOError:
                return
            line.queued -= sent
            self._counts[line.direction] += sent
            if sent == len(data):
                line.queue.popleft()
            else:
                line.queue[0] = (due, data[sent:])

    # ---- calls inside the loop ------------------------------------------------------------------

    def _cut_all(self) -> None:
        for connection in list(self._open):
            self._drop(connection, reset=True)

    def _drop(self, connection: _Connection, *, reset: bool) -> None:
        self._open.discard(connection)
        for end in (connection.client, connection.server):
            self._forget(end)
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def _forget(self, end: socket.socket) -> None:
        if end in {key.fileobj for key in self._selector.get_map().values()}:
            self._selector.unregister(end)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._forget(self._listener)
            self._listener.close()
            self._listener = None

    def _start_listening(self) -> None:
        if self._listener is None:
            self._listener = _listening(self.address, self.port)

    def _end(self) -> None:
        self._stop_listening()
        self._cut_all()
        self._closed = True


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Bind although earlier connections of the port are in TIME_WAIT.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(128)
    listener.setblocking(False)
    return listener
