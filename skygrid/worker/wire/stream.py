"""A stream of bytes that outlives its connections.

Two ends hold a `ResumableStream` each. What one writes the other reads, whole and in order, over
one connection after another. What makes it so is little: how many bytes were received, and a buffer
of what was sent and is not acknowledged. When a connection breaks, both ends say on the next one
how far they have come, and what the other has not got is sent again.

On the connection travel packets: a header of five bytes, little-endian, and a body.

    u8 kind | u32 length of the body | body

    HELLO    sixteen bytes that name the session, u64 bytes received so far; the first packet on
             every connection, from the caller first, and then from the one who is called
    DATA     u64 offset of the first byte in the stream, and bytes
    ACK      u64 bytes received so far
    PING     nothing: its sender is there, and wants an ACK to see that the other one is
    END      u64 offset at which the stream ends; counts as one byte, so that it is acknowledged
    REFUSED  a reason, UTF-8: this session has no place here, now or later

A session is one stream. The caller (the driver) makes up its name; who is called (the keeper) goes
on with the session that it has, begins afresh with one that it never heard of, and refuses one in
whose place another has come. What of this is decision and not I/O is in `StreamHost`.

An ACK costs as much as any packet and hurries nobody, as what is not acknowledged is only kept for
a while longer. So it goes with the next DATA, or in answer to a PING or an END, or when much has
come.

An offset makes what is sent twice harmless. A gap or an unknown kind ends the connection, and the
next one goes on from there. Packets have no checksum: the connection (SSH) has a message
authentication code over all that it carries and ends where one does not fit. The frames inside the
stream have a checksum of their own.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

HELLO, DATA, ACK, PING, END, REFUSED = 1, 2, 3, 4, 5, 6
_HEADER = struct.Struct("<BI")
_OFFSET = struct.Struct("<Q")
_HELLO = struct.Struct("<16sQ")

SESSION_BYTES = 16

DATA_BYTES = 64 * 1024
"""Most bytes of the stream in one packet."""

ACK_BYTES = 256 * 1024
"""So much that came is acknowledged even if there is nothing else to say."""

MAX_BODY = DATA_BYTES + _OFFSET.size

MAX_REASON = 1000
"""Bytes of a reason in `REFUSED`."""

TAKEN_OVER = "another driver has taken over this node"
NOT_THE_SAME = "its agent is gone; the one that is there now began without this driver"


class StreamError(Exception):
    """The connection is of no use any more; the stream goes on over another one."""


class RefusedError(StreamError):
    """This session has no place at the other end: no other connection will mend that."""


class Hello(NamedTuple):
    """What the first packet of a connection says."""

    session: bytes
    received: int


class ResumableStream:
    """One end of the stream. Does no I/O and has no clock: bytes in, bytes out.

    Parameters
    ----------
    session : bytes
        Sixteen bytes; the other end has the same.
    most_unsent : int
        Bytes that may wait to be acknowledged before `full` says so.
    """

    def __init__(self, session: bytes, most_unsent: int = 64 * 1024 * 1024) -> None:
        self.session = session
        self._most_unsent = most_unsent
        # What was written and is not acknowledged: pieces, and the offset of the first one.
        self._pieces: deque[bytes] = deque()
        self._acknowledged = 0
        self._written = 0
        self._sent = 0
        self._received = 0
        self._told = 0
        """Bytes that the other end knows to have arrived here."""

        self._arrived: deque[bytes] = deque()
        self._incoming = bytearray()
        self._control: deque[bytes] = deque()
        self._greeted = False
        self._asks = False
        self._end: int | None = None
        self.finished = False
        """Whether the other end has said its last byte, and it has arrived."""

    # -- the application's side

    def write(self, data: bytes) -> None:
        """Take bytes to deliver, over this connection or a later one; none after `end`."""
        if data and self._end is None:
            self._pieces.append(bytes(data))
            self._written += len(data)

    def end(self) -> None:
        """There will be no more to write."""
        if self._end is None:
            self._end = self._written
            self._pieces.append(b"\0")
            self._written += 1

    def read(self) -> bytes:
        """All bytes that have arrived and were not read yet."""
        data = b"".join(self._arrived)
        self._arrived.clear()
        return data

    @property
    def unread(self) -> int:
        """Bytes that have arrived and were not read."""
        return sum(map(len, self._arrived))

    @property
    def waiting(self) -> int:
        """Bytes that were written and are not acknowledged."""
        return self._written - self._acknowledged

    @property
    def full(self) -> bool:
        """Whether so much waits to be acknowledged that a writer should wait too."""
        return self.waiting >= self._most_unsent

    @property
    def settled(self) -> bool:
        """Whether the other end has everything that was written."""
        return not self.waiting

    @property
    def done(self) -> bool:
        """Whether `end` was called and the other end has everything up to it."""
        return self._end is not None and self.settled

    # -- the connection's side

    def connect(self) -> None:
        """A new connection begins; whatever the last one was in the middle of is void."""
        self._incoming.clear()
        self._control.clear()
        self._control.append(_packet(HELLO, _HELLO.pack(self.session, self._received)))
        self._told = self._received
        self._greeted = self._asks = False

    def ping(self) -> None:
        """Tell the other end that this one is there, and ask it how far it has come.

        Asked after all that waits to be sent.
        """
        self._asks = True

    @property
    def talkative(self) -> bool:
        """Whether there is anything to send now: `outgoing` is not empty."""
        untold = self._greeted and (self._asks or self._sent < self._written)
        return bool(self._control) or untold

    def outgoing(self) -> bytes:
        """The next bytes for the connection; empty when there is nothing to send now."""
        # Nothing of the stream before the other end has said how far it has come.
        if not self._greeted:
            return self._take_control()
        if self._sent >= self._written:
            asks, self._asks = self._asks, False
            return self._take_control() + (_packet(PING, b"") if asks else b"")
        if self._received > self._told:
            self._tell_received()
        # Together with data, never instead of it: whoever is asked often must not fall behind.
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
        """Take bytes that came over the connection.

        Raises
        ------
        StreamError
            If they are not packets of the other end of this stream. End the connection.
        RefusedError
            If the other end will have nothing to do with this session any more.
        """
        self._incoming += data
        for kind, body in self._cut():
            self._take(kind, body)
        if self._received - self._told >= ACK_BYTES:
            self._tell_received()

    def _tell_received(self) -> None:
        self._told = self._received
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
            self._tell_received()
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
            self._tell_received()
        else:
            raise StreamError(f"a packet of kind {kind} out of turn")

    def _greet(self, hello: Hello) -> None:
        if hello.session != self.session:
            raise StreamError("the other end speaks of another session")
        self._acknowledge(hello.received)
        self._sent = hello.received
        self._greeted = True

    def _acknowledge(self, offset: int) -> None:
        """The other end has everything before `offset`."""
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
        """Up to `most` bytes of what was written, from offset `start`."""
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
    """Who is called: holds the stream of the session that came last, and knows the ones before."""

    def __init__(self) -> None:
        self.stream: ResumableStream | None = None
        self._displaced: set[bytes] = set()

    def admit(self, hello: Hello) -> bool:
        """Have `stream` be the stream that a caller means.

        Parameters
        ----------
        hello : Hello

        Returns
        -------
        fresh : bool
            Whether a session begins: `stream` is another one than before.

        Raises
        ------
        RefusedError
            If the caller has no place here; nothing has changed then.
        """
        current = self.stream
        if current is not None and hello.session == current.session:
            return False
        if hello.session in self._displaced:
            raise RefusedError(TAKEN_OVER)
        if hello.received:
            # It comes from another keeper's time. It must not push out who came to this one.
            raise RefusedError(NOT_THE_SAME)
        if current is not None:
            self._displaced.add(current.session)
        self.stream = ResumableStream(hello.session)
        return True


def read_hello(data: bytes) -> Hello | None:
    """The first packet of a caller's connection; None while it is not whole.

    Raises
    ------
    StreamError
        If it is none.
    """
    packet = _first_packet(data, 0)
    if packet is None:
        return None
    kind, body = packet
    if kind != HELLO:
        raise StreamError(f"a packet of kind {kind} out of turn")
    return _parse_hello(body)


def _parse_hello(body: bytes) -> Hello:
    """What a packet of kind `HELLO` says."""
    if len(body) != _HELLO.size:
        raise StreamError(f"a packet of kind {HELLO} with {len(body)} bytes")
    return Hello(*_HELLO.unpack(body))


def refusal(reason: str) -> bytes:
    """The packet that refuses a session."""
    return _packet(REFUSED, reason.encode()[:MAX_REASON])


def _first_packet(buffer: bytes | bytearray, start: int) -> tuple[int, bytes] | None:
    """Kind and body of the packet that begins at `start`; None while it is not whole."""
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
