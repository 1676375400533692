"""A transport over connections that break: bytes arrive complete and in order.

The agent's side is `worker.keeper.keeper`. Packets of `worker.wire.stream` travel over the channel
that `connect` returns: an SSH channel, or a child process in tests.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from skygrid.config import SshConfig, limits
from skygrid.errors import NodeError, reason
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.stream import SESSION_BYTES, RefusedError, ResumableStream, StreamError

LOGGER = logging.getLogger(__name__)

MOST_UNREAD = 16 * 1024 * 1024
"""Unread bytes above which no more are read from the connection."""


class Channel(Protocol):
    """One connection to a node."""

    def read(self) -> bytes:
        """Wait for bytes; empty at the end.

        Raises
        ------
        OSError
            If the connection breaks.
        NodeGoneError
            If the agent's keeper has ended.
        """

    def write(self, data: bytes) -> None:
        """Send bytes. Raises OSError if the connection is broken."""

    def close(self) -> None:
        """End the connection; blocked calls of `read` and `write` return or raise."""


class NodeGoneError(NodeError):
    """The agent has ended or has another driver."""


class TakenOverError(NodeError):
    """The agent obeys another driver now."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Time limits of a broken connection."""

    ping_seconds: float = limits.PING
    silence_seconds: float = limits.CONNECTION_SILENCE
    """Silence after which a connection counts as dead."""

    give_up_seconds: float = SshConfig.lost_after
    """Time without a connection after which a node is lost."""

    first_connect_seconds: float = SshConfig.connect_timeout
    """The same before the first connection; shorter, because the user is waiting."""

    first_delay_seconds: float = limits.RECONNECT_FIRST
    longest_delay_seconds: float = limits.RECONNECT_LONGEST

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait before attempt 1, 2, ...: doubling, bounded, with jitter.

        Jitter spreads the attempts of many drivers or nodes.
        """
        doubled = self.first_delay_seconds * 2.0 ** min(attempt - 1, 30)
        return min(self.longest_delay_seconds, doubled) * random.uniform(0.5, 1.0)


class ResumingTransport:
    """A `Transport` that reconnects.

    Parameters
    ----------
    connect : callable
        Makes a new connection. Raises `NodeGoneError` if the agent has ended, another `NodeError`
        if further attempts would fail too (a refused key), and OSError otherwise.
    patience : Patience
    on_state : callable, optional
        Called with "reconnecting" after a break and "connected" afterwards, from a thread of the
        transport.
    on_end : callable, optional
        Called when the transport ends, to abort an attempt to connect.
    url_of : callable, optional
        Returns the URL of a blob for the agent, or None; default: always None.
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
        """Id of this transport: a keeper that knows it resumes the stream, others begin a new
        one."""

        self._stream = ResumableStream(self.session)
        # One lock with three conditions, so that each kind of waiting thread wakes up only when
        # needed.
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
        self._silence = ""
        """Reason why this side closed the connection; empty if it did not."""

    # -- Transport

    def start(self) -> None:
        """Connect for the first time; errors are raised to the caller."""
        deadline = self._clock() + self._patience.first_connect_seconds
        channel = self._reach(deadline)
        if self._end is not None:
            self._end_agent_over(channel)
            raise NodeGoneError(self._end)
        self._adopt(channel)
        self._started = True
        self._thread(lambda: self._keep_connected(deadline), "stream-in")
        self._thread(self._send_all, "stream-out")

    def _thread(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=self._run_guarded, args=(work,), name=name, daemon=True)
        thread.start()

    def _run_guarded(self, work: Callable[[], None]) -> None:
        """Run a thread's work; an unexpected error ends the transport and is raised by `read`."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  # raised again in `read`
            self._unforeseen = error
            self._finish(f"{type(error).__name__}: {error}")

    def read(self) -> bytes:
        """Wait for bytes of the agent; empty at the end.

        Raises
        ------
        Exception
            Any error that ended the transport and is not a connection error.
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
        """Return nothing: the keeper sends the agent's output within the agent's messages."""
        return b""

    def write(self, data: bytes) -> None:
        """Queue bytes for the agent; wait while too much is unsent."""
        with self._lock:
            while self._stream.full and self._end is None:
                self._changed.wait()
            if self._end is not None:
                raise BrokenPipeError(self._end)
            self._stream.write(data)
        self._send()

    def url_of(self, blob: Blob) -> str | None:
        """Return the URL from which the agent can fetch a blob, or None."""
        return self._url_of(blob)

    def mending(self) -> bool:
        """Return True while a connection is being made."""
        return self._channel is None and self._end is None

    def ended(self) -> str:
        """Return the reason for the end of the stream."""
        return self._end or "is still there"

    def error(self) -> NodeError | None:
        """Return the error that ended the transport, None for a normal end or a lost node."""
        return self._error

    def kill(self) -> None:
        """Request the agent's end without waiting.

        An unreachable agent exits by itself after its time without a driver.
        """
        with self._lock:
            self._stream.end()
            self._sendable.notify()

    def close(self) -> None:
        """End the agent: send the request, wait briefly for its receipt, then close."""
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

    def _end_agent_over(self, channel: Channel) -> None:
        """Tell the agent to end over a connection that was made while the transport closed."""
        try:
            self._stream.connect()
            until = self._clock() + limits.CLOSE
            while not self._stream.done and self._clock() < until:
                while data := self._stream.outgoing():
                    channel.write(data)
                self._stream.feed(channel.read())
        except (OSError, StreamError, NodeError) as error:
            LOGGER.debug("an agent was not told to end, and will exit by itself: %s", error)
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
                # One attempt may exceed the deadline, because it includes preparing the node.
                over = self._clock() > deadline and attempt > 1
                if over or self._end is not None:
                    # NodeError, not NodeGoneError: a new agent would be just as unreachable.
                    raise NodeError(f"it could not be reached: {reason(error)}") from error
                LOGGER.info("attempt %d to connect failed: %s", attempt, reason(error))
            self._pause(attempt)
            attempt += 1

    def _pause(self, attempt: int) -> None:
        with self._lock:
            self._changed.wait_for(lambda: self._end is not None, self._patience.delay(attempt))

    def _keep_connected(self, deadline: float) -> None:
        fruitless = 0
        try:
            while self._end is None:
                came = self._receive_until_broken()
                if self._stream.done:
                    self._finish("has ended as it was told")
                elif came:
                    deadline = self._clock() + self._patience.give_up_seconds
                    fruitless = 0
                else:
                    # A connection that breaks before any data counts as a failed attempt.
                    fruitless += 1
                    self._pause(fruitless)
                    if self._clock() > deadline:
                        raise NodeGoneError(
                            f"its connections break before any data arrives{self._trouble}"
                        )
                if self._end is None:
                    self._adopt(self._reach(deadline))
        except NodeError as error:
            self._error = None if isinstance(error, NodeGoneError) else error
            self._finish(str(error))

    def _receive_until_broken(self) -> bool:
        """Read from the connection until it breaks; return True if any data was valid.

        Raises
        ------
        TakenOverError
            If the keeper refuses this session.
        """
        channel, came, self._silence = self._channel, False, ""
        if channel is None:
            return False
        try:
            while data := channel.read():
                with self._lock:
                    self._heard = self._clock()
                    self._stream.feed(data)
                    self._notify_waiting()
                    while self._stream.unread > MOST_UNREAD and self._end is None:
                        self._changed.wait(1.0)
                if not came:
                    self._report_reconnection()
                came = True
            if self._silence:
                self._note_trouble(self._silence)
        except RefusedError as error:
            raise TakenOverError(str(error)) from error
        except (OSError, StreamError) as error:
            self._note_trouble(self._silence or reason(error))  # the next connection may work
        finally:
            with self._lock:
                if self._channel is channel:
                    self._channel = None
            channel.close()
        if came and self._end is None and not self._stream.done:
            self._broken = True
            self._on_state("reconnecting")
        return came

    def _note_trouble(self, text: str) -> None:
        self._trouble = f": {text}"
        LOGGER.info("a connection broke%s", self._trouble)

    def _report_reconnection(self) -> None:
        """Report a reconnection, once data has arrived over the new connection."""
        if self._broken:
            self._broken = False
            self._on_state("connected")

    def _notify_waiting(self) -> None:
        if self._stream.unread:
            self._readable.notify()
        if self._stream.talkative:
            self._sendable.notify()
        self._changed.notify_all()

    def _send_all(self) -> None:
        """Send packets that no caller of `write` sends, and pings at intervals."""
        pinged = 0.0
        while self._end is None:
            with self._lock:
                channel, now = self._channel, self._clock()
                # Traffic in both directions makes pings unnecessary.
                quiet_since = max(pinged, min(self._said, self._heard))
                if channel is not None and now >= quiet_since + self._patience.ping_seconds:
                    pinged = now
                    self._stream.ping()
                if channel is None or self._sending or not self._stream.talkative:
                    self._sendable.wait(self._patience.ping_seconds)
                silent = self._clock() - self._heard > self._patience.silence_seconds
            if silent and channel is not None and channel is self._channel:
                self._silence = f"it was silent for {self._patience.silence_seconds:g} s"
                # Closing wakes the reader, which reconnects.
                channel.close()
            self._send()

    def _send(self) -> None:
        """Send all pending packets, unless another thread is sending; that thread includes them."""
        with self._lock:
            if self._sending:
                return
            self._sending = True
        try:
            while (packet := self._next_packet()) is not None:
                channel, data = packet
                channel.write(data)
        except OSError:
            # The reader sees the end; the next connection sends everything again.
            channel.close()
            self._stop_sending()
        except BaseException:
            self._stop_sending()
            raise

    def _stop_sending(self) -> None:
        with self._lock:
            self._sending = False
            self._sendable.notify()

    def _next_packet(self) -> tuple[Channel, bytes] | None:
        """Return the next packet and its channel; None, with `_sending` reset, if nothing is
        pending."""
        with self._lock:
            if self._channel is not None and (data := self._stream.outgoing()):
                self._said = self._clock()
                return self._channel, data
            self._sending = False
            return None
