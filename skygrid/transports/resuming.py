"""A transport over connections that break: what is written arrives, whole and in order.

The agent's side of it is `worker.keeper`. Between the two go the packets of `worker.stream`, over
whatever `connect` gives: an SSH channel, or a child process in its place.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from skygrid.errors import NodeError
from skygrid.worker.stream import SESSION_BYTES, RefusedError, ResumableStream, StreamError

MOST_UNREAD = 16 * 1024 * 1024
"""Bytes of the agent that may wait to be read before no more are taken from the connection."""

CLOSE_SECONDS = 2.0
"""How long the last that was written has to arrive when a transport is closed."""


class Channel(Protocol):
    """One connection to a node: bytes, until it breaks."""

    def read(self) -> bytes:
        """Wait for bytes; empty at the end.

        Raises
        ------
        OSError
            If the connection breaks.
        NodeGoneError
            If it turns out that nobody keeps an agent there any more.
        """

    def write(self, data: bytes) -> None:
        """Send bytes. Raises OSError when the connection is broken."""

    def close(self) -> None:
        """End the connection; what waits in `read` or `write` returns or raises."""


class NodeGoneError(NodeError):
    """There is nothing to connect to any more: the agent has ended, or has another driver."""


class TakenOverError(NodeError):
    """The agent works for another driver now."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a broken connection is mended."""

    ping_seconds: float = 3.0
    silence_seconds: float = 15.0
    """A connection on which nothing came for so long is dead."""

    give_up_seconds: float = 120.0
    """A node that could not be reached for so long is lost."""

    first_connect_seconds: float = 60.0
    """The same for a node that was never reached yet: somebody waits for the answer."""

    first_delay_seconds: float = 0.2
    longest_delay_seconds: float = 10.0

    def delay(self, attempt: int) -> float:
        """Seconds before an attempt, the first being 1: doubling, with jitter, bounded.

        The jitter keeps many drivers, or many nodes of one, from knocking at the same moment.
        """
        doubled = self.first_delay_seconds * 2.0 ** min(attempt - 1, 30)
        return min(self.longest_delay_seconds, doubled) * random.uniform(0.5, 1.0)


class ResumingTransport:
    """A `Transport` that mends its connection.

    Parameters
    ----------
    connect : callable
        Makes a new connection. Raises `NodeGoneError` when there is nothing to connect to any more,
        another `NodeError` when it makes no sense to try again (a refused key), and OSError when it
        does.
    patience : Patience
    on_state : callable, optional
        Is told "reconnecting" when the connection broke, and "connected" when it is mended. Called
        from a thread of the transport.
    on_end : callable, optional
        Is called when the transport ends, so that an attempt to connect is given up.
    """

    shares_files = False

    def __init__(
        self,
        connect: Callable[[], Channel],
        patience: Patience | None = None,
        on_state: Callable[[str], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._connect = connect
        self._patience = patience or Patience()
        self._on_state = on_state or (lambda text: None)
        self._on_end = on_end or (lambda: None)
        self.session = secrets.token_bytes(SESSION_BYTES)
        """Names this transport to keepers: one that knows it goes on, others begin."""

        self._stream = ResumableStream(self.session)
        self._changed = threading.Condition()
        self._channel: Channel | None = None
        self._heard = 0.0
        self._end: str | None = None
        self._error: NodeError | None = None
        self._started = False
        self._broken = False
        self._trouble = ""
        self.reconnects = 0
        """How often the connection was mended."""

        self.bytes_sent = 0
        """Over all connections, with all that was sent twice."""

        self.bytes_received = 0

    # -- Transport

    def start(self) -> None:
        """Connect for the first time; errors are the caller's to see."""
        deadline = time.monotonic() + self._patience.first_connect_seconds
        channel = self._reach(deadline)
        if self._end is not None:
            self._dismiss(channel)
            raise NodeGoneError(self._end)
        self._adopt(channel)
        self._started = True
        threading.Thread(target=self._keep_connected, args=(deadline,), daemon=True).start()
        threading.Thread(target=self._send_all, daemon=True).start()

    def read(self) -> bytes:
        """Wait for bytes of the agent; empty when there will be none any more."""
        with self._changed:
            while True:
                data = self._stream.read()
                if len(data) > MOST_UNREAD:
                    self._changed.notify_all()
                if data or self._end is not None:
                    return data
                self._changed.wait()

    def read_log(self) -> bytes:
        """Nothing: the keeper sends what the agent prints among the agent's own messages."""
        return b""

    def write(self, data: bytes) -> None:
        """Take bytes for the agent; waits while very much is on its way."""
        with self._changed:
            while self._stream.full and self._end is None:
                self._changed.wait()
            if self._end is not None:
                raise BrokenPipeError(self._end)
            self._stream.write(data)
            self._changed.notify_all()

    def mending(self) -> bool:
        """Whether there is no connection at the moment, and one is being made."""
        return self._channel is None and self._end is None

    def ended(self) -> str:
        """Why there will be no more bytes."""
        return self._end or "is still there"

    def error(self) -> NodeError | None:
        """Another driver has the agent now, or the host cannot be used as things are."""
        return self._error

    def kill(self) -> None:
        """Ask for the agent's end and wait for nothing.

        What cannot be reached ends by itself, when no driver has come for long enough.
        """
        with self._changed:
            self._stream.end()
            self._changed.notify_all()

    def close(self) -> None:
        """End the agent: give the word for it a moment to arrive, then let go."""
        with self._changed:
            self._stream.end()
            self._changed.notify_all()
            if self._started:
                self._changed.wait_for(
                    lambda: self._stream.settled or self._end is not None, CLOSE_SECONDS
                )
        self._finish("was closed")

    # -- the connection

    def _finish(self, reason: str) -> None:
        with self._changed:
            self._end = self._end or reason
            channel, self._channel = self._channel, None
            self._changed.notify_all()
        if channel is not None:
            channel.close()
        self._on_end()

    def _dismiss(self, channel: Channel) -> None:
        """The transport was closed while this connection was made: tell the agent to end."""
        try:
            self._stream.connect()
            until = time.monotonic() + CLOSE_SECONDS
            while not self._stream.done and time.monotonic() < until:
                while data := self._stream.outgoing():
                    channel.write(data)
                self._stream.feed(channel.read())
        except (OSError, StreamError, NodeError):
            return  # then it ends by itself
        finally:
            channel.close()

    def _adopt(self, channel: Channel) -> None:
        with self._changed:
            if self._end is not None:
                channel.close()
                return
            self._stream.connect()
            self._heard = time.monotonic()
            self._channel = channel
            self._changed.notify_all()

    def _reach(self, deadline: float) -> Channel:
        attempt = 1
        while True:
            try:
                return self._connect()
            except OSError as error:
                # One attempt may take long because the node is being prepared.
                over = time.monotonic() > deadline and attempt > 1
                if over or self._end is not None:
                    # A new agent there would be no easier to reach.
                    raise NodeError(f"it could not be reached: {error}") from error
            self._pause(attempt)
            attempt += 1

    def _pause(self, attempt: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._end is not None, self._patience.delay(attempt))

    def _keep_connected(self, deadline: float) -> None:
        fruitless = 0
        try:
            while self._end is None:
                came = self._hear()
                if self._stream.done:
                    self._finish("has ended as it was told")
                elif came:
                    deadline = time.monotonic() + self._patience.give_up_seconds
                    fruitless = 0
                else:
                    # One that breaks before a word came over it is no better than none.
                    fruitless += 1
                    self._pause(fruitless)
                    if time.monotonic() > deadline:
                        raise NodeGoneError(
                            f"its connections break before a word comes over them{self._trouble}"
                        )
                if self._end is None:
                    self._adopt(self._reach(deadline))
        except NodeError as error:
            self._error = None if isinstance(error, NodeGoneError) else error
            self._finish(str(error))

    def _hear(self) -> bool:
        """Take in what comes over the connection until it breaks; whether any of it was of use.

        Who answers with another stream is not our keeper: to him a new connection is no cure.

        Raises
        ------
        TakenOverError
            If the other end will have nothing to do with this session any more.
        """
        channel, came = self._channel, False
        if channel is None:
            return False
        try:
            while data := channel.read():
                with self._changed:
                    self._heard = time.monotonic()
                    self.bytes_received += len(data)
                    self._stream.feed(data)
                    self._changed.notify_all()
                    while self._stream.unread > MOST_UNREAD and self._end is None:
                        self._changed.wait(1.0)
                if not came:
                    self._mended()
                came = True
        except RefusedError as error:
            raise TakenOverError(str(error)) from error
        except (OSError, StreamError) as error:
            self._trouble = f": {error}"  # the next connection mends it
        finally:
            with self._changed:
                if self._channel is channel:
                    self._channel = None
            channel.close()
        if came and self._end is None and not self._stream.done:
            self._broken = True
            self._on_state("reconnecting")
        return came

    def _mended(self) -> None:
        """A word has come over a connection; not the first one, if one broke before."""
        if self._broken:
            self._broken = False
            self.reconnects += 1
            self._on_state("connected")

    def _send_all(self) -> None:
        """Send what there is over whatever connection there is, and a ping now and then."""
        next_ping = 0.0
        while self._end is None:
            with self._changed:
                channel, now = self._channel, time.monotonic()
                if channel is not None and now >= next_ping:
                    next_ping = now + self._patience.ping_seconds
                    self._stream.ping()
                data = self._stream.outgoing() if channel is not None else b""
                if not data:
                    self._changed.wait(self._patience.ping_seconds)
                silent = channel is not None and (
                    time.monotonic() - self._heard > self._patience.silence_seconds
                )
            if channel is not None and (silent or not _sent(channel, data)):
                # Its reader sees the end, and a new connection is made.
                channel.close()
            self.bytes_sent += len(data)


def _sent(channel: Channel, data: bytes) -> bool:
    try:
        if data:
            channel.write(data)
    except OSError:
        return False
    return True
