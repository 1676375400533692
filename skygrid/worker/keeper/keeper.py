"""The keeper: stays on a node with the agent while connections, and drivers, come and go.

It starts the agent as its child, holds the agent's pipes, and listens on a Unix socket that only
its user can open. Whoever connects there speaks `stream` packets; the agent reads and writes as if
the driver were at the other end of its pipe. A connection that breaks costs nothing: slots go on,
what the agent says waits here. With no driver for so long, the keeper ends the agent and itself,
and removes its folder.

A connection that is new takes the place of the one before it: a driver that comes back is not kept
out by the remains of its last visit. So does a driver that is new. To the agent go whole frames
only, so whenever the driver changes the agent is told so by `Attach` between two frames. Then its
answer is waited for: what it said before was for the driver before, and is dropped.

What the agent and its fits print is passed on between the agent's own messages, as `AgentLog`, so
that it takes the same road and arrives in the same order.
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

from skygrid.worker.wire.frames import FrameError, encode, take_frames
from skygrid.worker.wire.messages import AgentLog
from skygrid.worker.wire.stream import (
    TAKEN_OVER,
    RefusedError,
    ResumableStream,
    StreamError,
    StreamHost,
    read_hello,
    refusal,
)

from .agent_process import LAST_WORDS_SECONDS, READ_BYTES, KeptAgent
from .folder import KeeperFolder
from .selector import Waiting

PING_SECONDS = 3.0
SILENCE_SECONDS = 15.0
"""A connection on which nothing came for so long is dead: the other end pings far more often."""

MOST_PRINTED = 4 * 1024 * 1024
"""Bytes that may wait for the driver before what is printed is dropped."""

LOG_BYTES = 64 * 1024
"""The keeper's own log ends here."""

TICK_SECONDS = 0.25
FIRST_VISIT_SECONDS = 60.0
"""How long the driver that had the keeper started has to say its first word."""

LEASE_SECONDS = 3.0
"""Between renewals of a machine's lease."""

LOCK_SECONDS = 0.5
"""How long the keeper tries, at its end, to be the one who clears up."""


class Connection:
    """One visit of a driver."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.heard = now
        self.early = b""
        """What has come while it is not known who is calling."""

        self.unsent = b""
        self.refused = False
        """There is nothing more to hear, and nothing to say but what is unsent."""


class Keeper:
    """The keeper's loop.

    Parameters
    ----------
    folder : KeeperFolder
        Its own folder, made already.
    command : sequence of str
        The agent.
    orphan_after : float
        Seconds without a driver before everything here ends.
    lease : Path, optional
        File that is touched while a driver is heard: the machine ends itself when it grows old.
    clock : callable, optional
        Returns the monotonic time.
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
        """The one of them that carries the stream."""

        self._visited = clock()
        self._pinged = self._said = 0.0
        self._told_to_end = False
        self._asked = False
        """Whether the driver was asked if it has the agent's last words."""

        self._finished_at: float | None = None
        """When the driver was found to have said its last."""

        self._from_driver = bytearray()
        self._logged = 0
        self._listener = folder.listen()
        self._agent = KeptAgent(command, self._waiting, self._tell_driver, self._tell_print)

    def run(self) -> None:
        """Keep until the agent has ended and all it said is delivered, or no driver comes."""
        try:
            self._open()
            while not self._over():
                self._turn()
        finally:
            self._listener.close()
            for connection in list(self._connections):
                self._drop(connection)
            # One that no driver ever came for has nothing to finish, and may be busy importing.
            self._agent.end(0.0 if self._stream is None else LAST_WORDS_SECONDS)
            self._clear_up()

    def _open(self) -> None:
        self._waiting.want(self._listener, self._accept, read=True)
        # Whoever finds the socket finds one that is listened to, and an agent behind it.
        self._folder.publish()

    def tell_to_end(self) -> None:
        """End at the next turn. May be called from a signal handler."""
        self._told_to_end = True

    @property
    def _stream(self) -> ResumableStream | None:
        return self._host.stream

    def _over(self) -> bool:
        now, stream = self._clock(), self._stream
        if self._told_to_end:
            return True
        if self._agent.silent and (stream is None or stream.settled or stream.finished):
            return True
        if self._finished_at is not None and now - self._finished_at > LAST_WORDS_SECONDS:
            return True
        if self._current is None:
            # A driver that gave up while the node was being made ready will not come back.
            patience = self._orphan_after
            if stream is None:
                patience = min(patience, FIRST_VISIT_SECONDS)
            # Without its folder nobody could ever reach it again.
            return now - self._visited > patience or not self._folder.reachable
        return False

    def _turn(self) -> None:
        self._choose()
        # To what can be written to again, all is written below.
        self._waiting.turn(TICK_SECONDS)
        now = self._clock()
        for connection in list(self._connections):
            if now - connection.heard > SILENCE_SECONDS:
                self._drop(connection)
        if self._current is not None and self._stream is not None:
            self._visited = now
            self._renew(now)
            last_words = self._agent.silent and not self._asked
            # While something goes and comes, each end knows of the other.
            quiet_since = max(self._pinged, min(self._said, self._current.heard))
            if now >= quiet_since + PING_SECONDS or last_words:
                # How far the driver has come must be known before this can end.
                self._asked = self._agent.silent
                self._pinged = now
                self._stream.ping()
        for connection in list(self._connections):
            self._send(connection)
        self._tell_agent()

    def _renew(self, now: float) -> None:
        if self._lease is None or now < self._next_renewal:
            return
        self._next_renewal = now + LEASE_SECONDS
        try:
            os.utime(self._lease)
        except OSError as error:
            self._note(f"the lease of this machine cannot be renewed: {error}")

    def _choose(self) -> None:
        """Wait for what can be dealt with, and for nothing else."""
        stream = self._stream
        self._agent.choose(frames=stream is not None and not stream.full, prints=stream is not None)
        for connection in self._connections:
            held_back = connection is self._current and self._agent.behind
            if held_back:
                # It is not its fault that nothing is heard of it.
                connection.heard = self._clock()
            self._waiting.want(
                connection.sock,
                self._hearer(connection),
                read=not connection.refused and not held_back,
                write=bool(connection.unsent),
            )

    # -- drivers

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self._connections.append(Connection(sock, self._clock()))

    def _hearer(self, connection: Connection) -> Callable[[], None]:
        return lambda: self._hear(connection)

    def _hear(self, connection: Connection) -> None:
        if connection not in self._connections or connection.refused:
            return  # another one has taken its place in this very turn
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
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
            self._note(f"a connection is given up: {error}")
            self._drop(connection)

    def _admit(self, connection: Connection, data: bytes) -> bytes:
        """Find out who is calling, and what is wanted; returns what has come of the stream."""
        connection.early += data
        hello = read_hello(connection.early)
        if hello is None:
            return b""
        stream = self._stream
        if stream is not None and stream.finished and hello.session != stream.session:
            # Everything here is about to end, and then there can be another keeper.
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
        # Half a frame of the last driver ends here; what is whole is still told, as it may be
        # part of the data, which the agent keeps.
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
        """Say that a driver has no place here; it is let go of when it has heard it."""
        connection.unsent += refusal(reason)
        connection.refused = True
        if connection is self._current:
            self._current = None

    def _send(self, connection: Connection) -> None:
        while connection.unsent or (connection is self._current and self._fetch(connection)):
            try:
                sent = connection.sock.send(connection.unsent)
            except BlockingIOError:
                return
            except OSError:
                self._drop(connection)
                return
            connection.unsent = connection.unsent[sent:]
        if connection.refused:
            self._drop(connection)

    def _fetch(self, connection: Connection) -> bool:
        """Take what there is of the stream to send; whether there is anything."""
        assert self._stream is not None
        connection.unsent = self._stream.outgoing()
        if connection.unsent:
            self._said = self._clock()
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
        # A fit must not stop because nobody takes what it prints.
        if self._stream is not None and self._stream.waiting < MOST_PRINTED:
            self._stream.write(encode(AgentLog(text=text)))

    def _tell_agent(self) -> None:
        self._agent.tell()
        if self._stream is not None and self._stream.finished:
            self._finished_at = self._finished_at or self._clock()
            if self._agent.told:
                self._agent.close_input()

    # -- the folder

    def _clear_up(self) -> None:
        """Remove the folder, unless somebody else sees to it: it is not ours alone any more."""
        missing = contextlib.suppress(TimeoutError, FileNotFoundError)
        with missing, self._folder.locked(LOCK_SECONDS):
            answering = self._folder.connect()
            if answering is None:
                self._folder.clear()
            else:
                answering.close()

    def _note(self, text: str) -> None:
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
    # Afterwards: its agent would inherit signals that are ignored.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: keeper.tell_to_end())
    keeper.run()


if __name__ == "__main__":
    main()
