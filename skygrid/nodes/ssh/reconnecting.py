"""A transport over connections that break: what is written arrives, whole and in order.

The agent's side of it is `worker.keeper.keeper`. Packets of `worker.wire.stream` travel between the
two, over whatever `connect` gives: an SSH channel, or a child process in its place.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from skygrid.config import SshConfig, limits
from skygrid.errors import NodeError
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.stream import SESSION_BYTES, RefusedError, ResumableStream, StreamError

MOST_UNREAD = 16 * 1024 * 1024
"""Bytes of the agent that may wait to be read before no more are taken from the connection."""


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

    ping_seconds: float = limits.PING
    silence_seconds: float = limits.CONNECTION_SILENCE
    """A connection on which nothing came for so long is dead."""

    give_up_seconds: float = SshConfig.lost_after
    """A node that could not be reached for so long is lost."""

    first_connect_seconds: float = SshConfig.connect_timeout
    """The same for a node that was never reached yet: somebody waits for the answer."""

    first_delay_seconds: float = limits.RECONNECT_FIRST
    longest_delay_seconds: float = limits.RECONNECT_LONGEST

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
    url_of : callable, optional
        Where the agent can fetch a blob by itself; by default nowhere.
    clock : callable, optional
        Returns the monotonic time.
    """

    shares_files = False

    def __init__(
        self,
        connect: Callable[[], Channel],
        patience: Patience | None = None,
        on_state: Callable[[str], None] | None = None,
        on_end: Callable[[], None] | None = None,
        url_of: Callable[[Blob], str | None] = lambda blob: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._patience = patience or Patience()
        self._on_state = on_state or (lambda text: None)
        self._url_of = url_of
        self._on_end = on_end or (lambda: None)
        self.session = secrets.token_bytes(SESSION_BYTES)
        """Names this transport to keepers: one that knows it goes on, others begin."""

        self._stream = ResumableStream(self.session)
        # One lock, and a condition for each who waits often: nobody wakes up for what is another's.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._readable = threading.Condition(self._lock)
        self._sendable = threading.Condition(self._lock)
        self._sending = False
        self._channel: Channel | None = None
        self._heard = self._said = 0.0
        self._end: str | None = None
        self._error: NodeError | None = None
        self._unforeseen: Exception | None = None
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
        deadline = self._clock() + self._patience.first_connect_seconds
        channel = self._reach(deadline)
        if self._end is not None:
            self._dismiss(channel)
            raise NodeGoneError(self._end)
        self._adopt(channel)
        self._started = True
        self._thread(lambda: self._keep_connected(deadline), "stream-in")
        self._thread(self._send_all, "stream-out")

    def _thread(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=self._to_its_end, args=(work,), name=name, daemon=True)
        thread.start()

    def _to_its_end(self, work: Callable[[], None]) -> None:
        """Do a thread's work; what nobody foresaw ends the transport, and its reader is told."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits in `read`
            self._unforeseen = error
            self._finish(f"{type(error).__name__}: {error}")

    def read(self) -> bytes:
        """Wait for bytes of the agent; empty when there will be none any more.

        Raises
        ------
        Exception
            Whatever has ended the connection that is no matter of connections.
        """
        with self._lock:
            while True:
                data = self._stream.read()
                if len(data) > MOST_UNREAD:
                    self._changed.notify_all()
                if not data and self._unforeseen is not None:
                    raise self._unforeseen
                if data or self._end is not None:
                    return data
                self._readable.wait()

    def read_log(self) -> bytes:
        """Nothing: the keeper sends what the agent prints among the agent's own messages."""
        return b""

    def write(self, data: bytes) -> None:
        """Take bytes for the agent; waits while very much is on its way."""
        with self._lock:
            while self._stream.full and self._end is None:
                self._changed.wait()
            if self._end is not None:
                raise BrokenPipeError(self._end)
            self._stream.write(data)
        self._send()

    def url_of(self, blob: Blob) -> str | None:
        """Where the agent can fetch a blob by itself."""
        return self._url_of(blob)

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
        with self._lock:
            self._stream.end()
            self._sendable.notify()

    def close(self) -> None:
        """End the agent: give the word for it a moment to arrive, then let go."""
        with self._lock:
            self._stream.end()
            self._sendable.notify()
            if self._started:
                self._changed.wait_for(
                    lambda: self._stream.settled or self._end is not None, limits.CLOSE
                )
        self._finish("was closed")

    # -- the connection

    def _finish(self, reason: str) -> None:
        with self._lock:
            self._end = self._end or reason
            channel, self._channel = self._channel, None
            for waiting in (self._changed, self._readable, self._sendable):
                waiting.notify_all()
        if channel is not None:
            channel.close()
        self._on_end()

    def _dismiss(self, channel: Channel) -> None:
        """The transport was closed while this connection was made: tell the agent to end."""
        try:
            self._stream.connect()
            until = self._clock() + limits.CLOSE
            while not self._stream.done and self._clock() < until:
                while data := self._stream.outgoing():
                    channel.write(data)
                self._stream.feed(channel.read())
        except (OSError, StreamError, NodeError):
            return  # then it ends by itself
        finally:
            channel.close()

    def _adopt(self, channel: Channel) -> None:
        with self._lock:
            if self._end is not None:
                channel.close()
                return
            self._stream.connect()
            self._heard = self._clock()
            self._channel = channel
            self._sendable.notify()

    def _reach(self, deadline: float) -> Channel:
        attempt = 1
        while True:
            try:
                return self._connect()
            except OSError as error:
                # One attempt may take long because the node is being prepared.
                over = self._clock() > deadline and attempt > 1
                if over or self._end is not None:
                    # A new agent there would be no easier to reach.
                    raise NodeError(f"it could not be reached: {error}") from error
            self._pause(attempt)
            attempt += 1

    def _pause(self, attempt: int) -> None:
        with self._lock:
            self._changed.wait_for(lambda: self._end is not None, self._patience.delay(attempt))

    def _keep_connected(self, deadline: float) -> None:
        fruitless = 0
        try:
            while self._end is None:
                came = self._hear()
                if self._stream.done:
                    self._finish("has ended as it was told")
                elif came:
                    deadline = self._clock() + self._patience.give_up_seconds
                    fruitless = 0
                else:
                    # One that breaks before a word came over it is no better than none.
                    fruitless += 1
                    self._pause(fruitless)
                    if self._clock() > deadline:
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
                with self._lock:
                    self._heard = self._clock()
                    self.bytes_received += len(data)
                    self._stream.feed(data)
                    self._tell_those_who_wait()
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
            with self._lock:
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

    def _tell_those_who_wait(self) -> None:
        if self._stream.unread:
            self._readable.notify()
        if self._stream.talkative:
            self._sendable.notify()
        self._changed.notify_all()

    def _send_all(self) -> None:
        """Send what nobody sends by himself, and a ping now and then."""
        pinged = 0.0
        while self._end is None:
            with self._lock:
                channel, now = self._channel, self._clock()
                # While something goes and comes, each end knows of the other.
                quiet_since = max(pinged, min(self._said, self._heard))
                if channel is not None and now >= quiet_since + self._patience.ping_seconds:
                    pinged = now
                    self._stream.ping()
                if channel is None or self._sending or not self._stream.talkative:
                    self._sendable.wait(self._patience.ping_seconds)
                silent = self._clock() - self._heard > self._patience.silence_seconds
            if silent and channel is not None and channel is self._channel:
                # Its reader sees the end, and a new connection is made.
                channel.close()
            self._send()

    def _send(self) -> None:
        """Send all that there is to send; a thread that is at it takes this along."""
        with self._lock:
            if self._sending:
                return
            self._sending = True
        try:
            while (packet := self._next_packet()) is not None:
                channel, data = packet
                self.bytes_sent += len(data)
                channel.write(data)
        except OSError:
            # Its reader sees the end, and with a new connection all is sent again.
            channel.close()
            self._let_others_send()
        except BaseException:
            self._let_others_send()
            raise

    def _let_others_send(self) -> None:
        with self._lock:
            self._sending = False
            self._sendable.notify()

    def _next_packet(self) -> tuple[Channel, bytes] | None:
        """What is to be sent next, and over what; None: there is nothing, and nobody sends now."""
        with self._lock:
            if self._channel is not None and (data := self._stream.outgoing()):
                self._said = self._clock()
                return self._channel, data
            self._sending = False
            return None
