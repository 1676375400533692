"""The keeper: a process that keeps an agent running while connections and drivers come and go.

It starts the agent as its child, holds the agent's pipes and listens on a Unix socket that only its
user can open. Drivers connect there and exchange `stream` packets; to the agent, its pipe seems to
lead to the driver. When a connection breaks, slots continue and the agent's output waits here.
After `orphan_after` seconds without a driver, the keeper ends the agent and itself and removes its
folder.

A new connection replaces the previous one, both for a returning driver and for another driver. The
agent receives whole frames only. When the driver changes, the keeper sends `Attach` between two
frames and drops the agent's output up to its answer, because it is meant for the previous driver.

Text that the agent and its fits print is sent as `AgentLog` between the agent's messages, which
preserves the order.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from skygrid.worker.limits import (
    AGENT_END_SECONDS,
    FIRST_VISIT_SECONDS,
    KEEPER_LOCK_SECONDS,
    KEEPER_PING_SECONDS,
    KEEPER_SILENCE_SECONDS,
    KEEPER_TICK_SECONDS,
    LEASE_RENEWAL_SECONDS,
    MOST_PRINTED,
)
from skygrid.worker.wire.frames import FrameError, encode, take_frames
from skygrid.worker.wire.messages.from_agent import AgentLog
from skygrid.worker.wire.stream import (
    TAKEN_OVER,
    RefusedError,
    ResumableStream,
    StreamError,
    StreamHost,
    read_hello,
    refusal,
)

from .agent_process import READ_BYTES, KeptAgent
from .folder import KeeperFolder
from .selector import Waiting

LOG_BYTES = 64 * 1024
"""Most bytes that the keeper writes to its log."""


class Connection:
    """A connection to the keeper's socket."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.heard = now
        self.early = b""
        """Bytes received before the caller's session is known."""

        self.unsent = b""
        self.refused = False
        """True if only `unsent` remains to be sent, and nothing is read."""


class Keeper:
    """The keeper's loop.

    Parameters
    ----------
    folder : KeeperFolder
        The keeper's own folder, which exists.
    command : sequence of str
        Starts the agent.
    orphan_after : float
        Seconds without a driver before the keeper ends.
    lease : Path, optional
        File that is touched while a driver is connected; the machine shuts down when it is old.
    clock : callable, optional
        Returns the monotonic time in seconds.
    """

    def __init__(
        self,
        folder: KeeperFolder,
        command: Sequence[str],
        orphan_after: float,
        lease: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._folder = folder
        self._orphan_after = orphan_after
        self._lease = lease
        self._next_renewal = 0.0
        self._host = StreamHost()
        self._waiting = Waiting()
        self._connections: list[Connection] = []
        self._current: Connection | None = None
        """The connection that carries the stream."""

        self._driver_seen = clock()
        self._last_ping = self._last_sent = 0.0
        self._must_end = False
        self._final_ping_sent = False
        """True if a ping has asked the driver to acknowledge the agent's last output."""

        self._finished_at: float | None = None
        """Time at which the driver's stream ended."""

        self._from_driver = bytearray()
        self._logged = 0
        self._listener = folder.listen()
        self._agent = KeptAgent(command, self._waiting, self._tell_driver, self._tell_print)

    def run(self) -> None:
        """Run until the agent has ended and its output is delivered, or until no driver comes."""
        try:
            self._open()
            while not self._over():
                self._turn()
        finally:
            self._listener.close()
            for connection in list(self._connections):
                self._drop(connection)
            # An agent without any driver has nothing to finish and may be busy importing.
            self._agent.end(0.0 if self._stream is None else AGENT_END_SECONDS)
            self._clear_up()

    def _open(self) -> None:
        self._waiting.want(self._listener, self._accept, read=True)
        # Publish only now: a process that finds the socket finds a listener and an agent.
        self._folder.publish()

    def request_end(self) -> None:
        """End at the next turn. Safe to call from a signal handler."""
        self._must_end = True

    @property
    def _stream(self) -> ResumableStream | None:
        return self._host.stream

    def _over(self) -> bool:
        now, stream = self._clock(), self._stream
        if self._must_end:
            return True
        if self._agent.silent and (stream is None or stream.settled or stream.finished):
            return True
        if self._finished_at is not None and now - self._finished_at > AGENT_END_SECONDS:
            return True
        if self._current is None:
            # A driver that gave up during the setup of the node does not come back.
            patience = self._orphan_after
            if stream is None:
                patience = min(patience, FIRST_VISIT_SECONDS)
            # Without its folder the keeper is unreachable.
            return now - self._driver_seen > patience or not self._folder.reachable
        return False

    def _turn(self) -> None:
        self._register_files()
        # Sockets that became writable are written to below.
        self._waiting.turn(KEEPER_TICK_SECONDS)
        now = self._clock()
        for connection in list(self._connections):
            if now - connection.heard > KEEPER_SILENCE_SECONDS:
                self._drop(connection)
        if self._current is not None and self._stream is not None:
            self._driver_seen = now
            self._renew(now)
            last_words = self._agent.silent and not self._final_ping_sent
            # Traffic in both directions is as good as a ping.
            quiet_since = max(self._last_ping, min(self._last_sent, self._current.heard))
            if now >= quiet_since + KEEPER_PING_SECONDS or last_words:
                # The keeper ends only when the driver has acknowledged everything.
                self._final_ping_sent = self._agent.silent
                self._last_ping = now
                self._stream.ping()
        for connection in list(self._connections):
            self._send(connection)
        self._tell_agent()

    def _renew(self, now: float) -> None:
        if self._lease is None or now < self._next_renewal:
            return
        self._next_renewal = now + LEASE_RENEWAL_SECONDS
        try:
            os.utime(self._lease)
        except OSError as error:
            self._log(f"the lease of this machine cannot be renewed: {error}")

    def _register_files(self) -> None:
        stream = self._stream
        self._agent.choose(frames=stream is not None and not stream.full, prints=stream is not None)
        for connection in self._connections:
            held_back = connection is self._current and self._agent.behind
            if held_back:
                # It is not read for the time being, so its silence must not count.
                connection.heard = self._clock()
            self._waiting.want(
                connection.sock,
                self._reader(connection),
                read=not connection.refused and not held_back,
                write=bool(connection.unsent),
            )

    # -- drivers

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self._connections.append(Connection(sock, self._clock()))

    def _reader(self, connection: Connection) -> Callable[[], None]:
        return lambda: self._read(connection)

    def _read(self, connection: Connection) -> None:
        if connection not in self._connections or connection.refused:
            return  # replaced by another connection in this turn
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:  # another reader of this turn was quicker
            return
        except OSError:  # a broken connection ends like a closed one
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.heard = self._clock()
        try:
            if connection is not self._current:
                data = self._admit(connection, data)
            if connection is self._current:
                self._take(data)
        except (RefusedError, FrameError) as error:
            self._refuse(connection, str(error))
        except StreamError as error:
            self._log(f"a connection is given up: {error}")
            self._drop(connection)

    def _admit(self, connection: Connection, data: bytes) -> bytes:
        """Read the caller's HELLO and assign the stream; return bytes for the stream."""
        connection.early += data
        hello = read_hello(connection.early)
        if hello is None:
            return b""
        stream = self._stream
        if stream is not None and stream.finished and hello.session != stream.session:
            # The keeper is about to end; the caller then starts another one.
            self._drop(connection)
            return b""
        fresh = self._host.admit(hello)
        last, self._current = self._current, connection
        if last is not None and fresh:
            self._refuse(last, TAKEN_OVER)
        elif last is not None:
            self._drop(last)
        if fresh:
            self._begin_session()
        assert self._stream is not None
        self._stream.connect()
        return connection.early

    def _begin_session(self) -> None:
        # Drop the last driver's incomplete frame. Whole frames are still delivered, because they
        # may be part of the data, which the agent keeps.
        self._from_driver.clear()
        self._agent.attach()

    def _take(self, data: bytes) -> None:
        stream = self._stream
        assert stream is not None
        try:
            stream.feed(data)
        finally:
            self._from_driver += stream.read()
            self._agent.take(take_frames(self._from_driver))

    def _refuse(self, connection: Connection, reason: str) -> None:
        """Send a refusal; the connection is closed after it is sent."""
        connection.unsent += refusal(reason)
        connection.refused = True
        if connection is self._current:
            self._current = None

    def _send(self, connection: Connection) -> None:
        while connection.unsent or (connection is self._current and self._fetch(connection)):
            try:
                sent = connection.sock.send(connection.unsent)
            except BlockingIOError:  # the socket is full
                return
            except OSError:
                self._drop(connection)
                return
            connection.unsent = connection.unsent[sent:]
        if connection.refused:
            self._drop(connection)

    def _fetch(self, connection: Connection) -> bool:
        """Take the next bytes of the stream; return True if there are any."""
        assert self._stream is not None
        connection.unsent = self._stream.outgoing()
        if connection.unsent:
            self._last_sent = self._clock()
        return bool(connection.unsent)

    def _drop(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._waiting.forget(connection.sock)
        connection.sock.close()
        if connection is self._current:
            self._current = None

    # -- the agent

    def _tell_driver(self, frame: bytes) -> None:
        if self._stream is not None:
            self._stream.write(frame)

    def _tell_print(self, text: str) -> None:
        # A fit must not block because its output is not read.
        if self._stream is not None and self._stream.waiting < MOST_PRINTED:
            self._stream.write(encode(AgentLog(text=text)))

    def _tell_agent(self) -> None:
        self._agent.tell()
        if self._stream is not None and self._stream.finished:
            self._finished_at = self._finished_at or self._clock()
            if self._agent.flushed:
                self._agent.close_input()

    # -- the folder

    def _clear_up(self) -> None:
        """Remove the folder, unless its lock is held or another keeper answers in it."""
        # The holder of the lock clears up, or has done so.
        others = contextlib.suppress(TimeoutError, FileNotFoundError)
        with others, self._folder.locked(KEEPER_LOCK_SECONDS):
            answering = self._folder.connect()
            if answering is None:
                self._folder.clear()
            else:
                answering.close()

    def _log(self, text: str) -> None:
        line = f"{text[:1000]}\n"
        self._logged += len(line)
        if self._logged < LOG_BYTES:
            sys.stderr.write(line)
            sys.stderr.flush()


def main() -> None:
    """Run ``... keeper --folder F [--orphan-after S] [--lease F] -- COMMAND``."""
    parser = argparse.ArgumentParser(prog="skygrid.worker.keeper.keeper")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--orphan-after", type=float, default=600.0)
    parser.add_argument("--lease", type=Path)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    keeper = Keeper(KeeperFolder(args.folder), args.command, args.orphan_after, args.lease)
    # Only after the start of the agent, which would inherit ignored signals.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: keeper.request_end())
    keeper.run()


if __name__ == "__main__":
    main()
