"""A stream of bytes that survives broken connections.

Each of two ends holds a `ResumableStream`. Bytes written at one end are read at the other, complete
and in order, over a sequence of connections. Each end counts the bytes that it has received, and
buffers sent bytes until they are acknowledged. On a new connection both ends first report their
counts; missing bytes are sent again.

A connection carries packets: a header of five bytes, little-endian, and a body.

    u8 kind | u32 length of the body | body

    HELLO    sixteen bytes that name the session, u64 bytes received so far; first packet on every
             connection, sent by the caller and then by the callee
    DATA     u64 offset of the first byte in the stream, and bytes
    ACK      u64 bytes received so far
    PING     empty; asks for an ACK
    END      u64 offset of the stream's end; counts as one byte, so that it is acknowledged
    REFUSED  a reason in UTF-8: the session is refused for good

A session is one stream, named by the caller (the driver). The callee (the keeper) continues its
current session, starts a new one for an unknown name, and refuses a session that another one has
replaced. `StreamHost` holds these decisions.

A late ACK does no harm: the sender merely keeps the bytes longer. Therefore an ACK is sent with the
next DATA, in answer to PING or END, or after many bytes.

Offsets make repeated bytes harmless. A gap or an unknown kind ends the connection, and the next one
continues from there. Packets have no checksum, because SSH authenticates all bytes and the frames
inside the stream have their own.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from skygrid.worker.limits import ACK_BYTES, DATA_BYTES, MOST_UNSENT

HELLO, DATA, ACK, PING, END, REFUSED = 1, 2, 3, 4, 5, 6
_HEADER = struct.Struct("<BI")
_OFFSET = struct.Struct("<Q")
_HELLO = struct.Struct("<16sQ")

SESSION_BYTES = 16

MAX_BODY = DATA_BYTES + _OFFSET.size

MAX_REASON = 1000
"""Most bytes of a reason in `REFUSED`."""

TAKEN_OVER = "another driver has taken over this node"
NOT_THE_SAME = "its agent is gone; another agent was started for another driver"


class StreamError(Exception):
    """The connection is unusable; the stream continues over another one."""


class RefusedError(StreamError):
    """The other end refuses this session on every connection."""


class Hello(NamedTuple):
    """Content of the first packet of a connection."""

    session: bytes
    received: int


class ResumableStream:
    """One end of the stream, without I/O and clock: bytes in, bytes out.

    Parameters
    ----------
    session : bytes
        Sixteen bytes, the same at both ends.
    most_unsent : int
        Unacknowledged bytes at which the stream is `full`.
    """

    def __init__(self, session: bytes, most_unsent: int = MOST_UNSENT) -> None:
        self.session = session
        self._most_unsent = most_unsent
        # Unacknowledged bytes, in pieces; `_acknowledged` is the offset of the first one.
        self._pieces: deque[bytes] = deque()
        self._acknowledged = 0
        self._written = 0
        self._sent = 0
        self._received = 0
        self._reported = 0
        """Received bytes that the other end knows of."""

        self._arrived: deque[bytes] = deque()
        self._incoming = bytearray()
        self._control: deque[bytes] = deque()
        self._greeted = False
        self._ping_due = False
        self._end: int | None = None
        self.finished = False
        """True when the other end's `END` has arrived."""

    # -- the application's side

    def write(self, data: bytes) -> None:
        """Add bytes to deliver over this connection or a later one; ignored after `end`."""
        if data and self._end is None:
            self._pieces.append(bytes(data))
            self._written += len(data)

    def end(self) -> None:
        """Mark the end of the stream."""
        if self._end is None:
            self._end = self._written
            self._pieces.append(b"\0")
            self._written += 1

    def read(self) -> bytes:
        """Return all bytes that have arrived since the last call."""
        data = b"".join(self._arrived)
        self._arrived.clear()
        return data

    @property
    def unread(self) -> int:
        """Number of bytes that have arrived and were not read."""
        return sum(map(len, self._arrived))

    @property
    def waiting(self) -> int:
        """Number of written bytes that are not acknowledged."""
        return self._written - self._acknowledged

    @property
    def full(self) -> bool:
        """True if a writer should wait for acknowledgements."""
        return self.waiting >= self._most_unsent

    @property
    def settled(self) -> bool:
        """True if the other end has every written byte."""
        return not self.waiting

    @property
    def done(self) -> bool:
        """True if `end` was called and the other end has every byte up to it."""
        return self._end is not None and self.settled

    # -- the connection's side

    def connect(self) -> None:
        """Start a new connection and drop incomplete packets of the last one."""
        self._incoming.clear()
        self._control.clear()
        self._control.append(_packet(HELLO, _HELLO.pack(self.session, self._received)))
        self._reported = self._received
        self._greeted = self._ping_due = False

    def ping(self) -> None:
        """Ask the other end for an ACK, after all bytes that wait to be sent."""
        self._ping_due = True

    @property
    def talkative(self) -> bool:
        """True if `outgoing` has bytes to send."""
        pending = self._greeted and (self._ping_due or self._sent < self._written)
        return bool(self._control) or pending

    def outgoing(self) -> bytes:
        """Return the next bytes for the connection; empty if none are due."""
        # Before the other end's HELLO it is unknown from which offset to send.
        if not self._greeted:
            return self._take_control()
        if self._sent >= self._written:
            ping, self._ping_due = self._ping_due, False
            return self._take_control() + (_packet(PING, b"") if ping else b"")
        if self._received > self._reported:
            self._send_ack()
        # Send control packets together with data, so that frequent PINGs do not delay the data.
        return self._take_control() + self._next_packet()

    def _take_control(self) -> bytes:
        packets = b"".join(self._control)
        self._control.clear()
        return packets

    def _next_packet(self) -> bytes:
        if self._sent == self._end:
            self._sent += 1
            return _packet(END, _OFFSET.pack(self._end))
        most = DATA_BYTES if self._end is None else min(DATA_BYTES, self._end - self._sent)
        body = self._slice(self._sent, most)
        packet = _packet(DATA, _OFFSET.pack(self._sent) + body)
        self._sent += len(body)
        return packet

    def feed(self, data: bytes) -> None:
        """Process bytes from the connection.

        Raises
        ------
        StreamError
            If they are not packets of this stream. End the connection.
        RefusedError
            If the other end refuses this session.
        """
        self._incoming += data
        for kind, body in self._cut():
            self._take(kind, body)
        if self._received - self._reported >= ACK_BYTES:
            self._send_ack()

    def _send_ack(self) -> None:
        self._reported = self._received
        self._control.append(_packet(ACK, _OFFSET.pack(self._received)))

    def _cut(self) -> Iterator[tuple[int, bytes]]:
        buffer, start = self._incoming, 0
        try:
            while (packet := _first_packet(buffer, start)) is not None:
                kind, body = packet
                start += _HEADER.size + len(body)
                yield kind, body
        finally:
            del buffer[:start]

    def _take(self, kind: int, body: bytes) -> None:
        if kind == PING and not body:
            self._send_ack()
            return
        if kind == REFUSED:
            raise RefusedError(body[:MAX_REASON].decode(errors="replace"))
        if kind == HELLO and not self._greeted:
            self._greet(_parse_hello(body))
            return
        if len(body) < _OFFSET.size or (kind != DATA and len(body) != _OFFSET.size):
            raise StreamError(f"a packet of kind {kind} with {len(body)} bytes")
        (offset,) = _OFFSET.unpack_from(body)
        if kind == ACK and self._greeted:
            self._acknowledge(offset)
        elif kind == DATA and self._greeted:
            self._arrive(offset, body[_OFFSET.size :])
        elif kind == END and self._greeted and self._received in (offset, offset + 1):
            self._received = offset + 1
            self.finished = True
            self._send_ack()
        else:
            raise StreamError(f"a packet of kind {kind} out of turn")

    def _greet(self, hello: Hello) -> None:
        if hello.session != self.session:
            raise StreamError("the other end has another session")
        self._acknowledge(hello.received)
        self._sent = hello.received
        self._greeted = True

    def _acknowledge(self, offset: int) -> None:
        """Drop written bytes before `offset`, which the other end has."""
        if not self._acknowledged <= offset <= self._written:
            raise StreamError(
                f"the other end has {offset} bytes, of {self._written} that were written; "
                f"it had {self._acknowledged} before"
            )
        while self._pieces and self._acknowledged + len(self._pieces[0]) <= offset:
            self._acknowledged += len(self._pieces.popleft())
        if self._acknowledged < offset:
            self._pieces[0] = self._pieces[0][offset - self._acknowledged :]
            self._acknowledged = offset

    def _arrive(self, offset: int, data: bytes) -> None:
        if offset > self._received:
            raise StreamError(f"bytes {self._received} to {offset} are missing")
        fresh = data[self._received - offset :]
        if fresh:
            self._arrived.append(fresh)
            self._received += len(fresh)

    def _slice(self, start: int, most: int) -> bytes:
        """Return up to `most` written bytes from offset `start`."""
        position, parts, wanted = self._acknowledged, [], most
        for piece in self._pieces:
            end = position + len(piece)
            if end > start:
                part = piece[max(0, start - position) :][:wanted]
                parts.append(part)
                wanted -= len(part)
                if not wanted:
                    break
            position = end
        return b"".join(parts)


class StreamHost:
    """Streams of the callee: holds the newest session's and refuses replaced sessions."""

    def __init__(self) -> None:
        self.stream: ResumableStream | None = None
        self._displaced: set[bytes] = set()

    def admit(self, hello: Hello) -> bool:
        """Set `stream` to the stream of a caller's session.

        Returns
        -------
        fresh : bool
            True if `stream` is new.

        Raises
        ------
        RefusedError
            If the session is refused; `stream` is unchanged.
        """
        current = self.stream
        if current is not None and hello.session == current.session:
            return False
        if hello.session in self._displaced:
            raise RefusedError(TAKEN_OVER)
        if hello.received:
            # It belongs to an earlier keeper and must not replace a session of this one.
            raise RefusedError(NOT_THE_SAME)
        if current is not None:
            self._displaced.add(current.session)
        self.stream = ResumableStream(hello.session)
        return True


def read_hello(data: bytes) -> Hello | None:
    """Return the HELLO at the start of a caller's bytes, or None while it is incomplete.

    Raises
    ------
    StreamError
        If the first packet is not a HELLO.
    """
    packet = _first_packet(data, 0)
    if packet is None:
        return None
    kind, body = packet
    if kind != HELLO:
        raise StreamError(f"a packet of kind {kind} out of turn")
    return _parse_hello(body)


def _parse_hello(body: bytes) -> Hello:
    if len(body) != _HELLO.size:
        raise StreamError(f"a packet of kind {HELLO} with {len(body)} bytes")
    return Hello(*_HELLO.unpack(body))


def refusal(reason: str) -> bytes:
    """Return the packet that refuses a session."""
    return _packet(REFUSED, reason.encode()[:MAX_REASON])


def _first_packet(buffer: bytes | bytearray, start: int) -> tuple[int, bytes] | None:
    """Return kind and body of the packet at `start`, or None while it is incomplete."""
    if len(buffer) - start < _HEADER.size:
        return None
    kind, length = _HEADER.unpack_from(buffer, start)
    if length > MAX_BODY:
        raise StreamError(f"a packet of {length} bytes")
    end = start + _HEADER.size + length
    if len(buffer) < end:
        return None
    return kind, bytes(memoryview(buffer)[start + _HEADER.size : end])


def _packet(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(kind, len(body)) + body
