"""The keeper: stays on a node with the agent while connections come and go.

It starts the agent as its child, holds the agent's pipes, and listens on a Unix socket that only
its user can open. Whoever connects there speaks `stream` packets; the agent knows nothing of all
this and reads and writes as if the driver were at the other end of its pipe. A connection that
breaks costs nothing: slots go on, what the agent says waits here. With no driver for so long, the
keeper ends the agent and itself, and removes its folder.

A connection that is new takes the place of the one before it: a driver that comes back is not kept
out by the remains of its last visit. What the agent and its fits print is passed on between the
agent's own messages, as `AgentLog`, so that it takes the same road and arrives in the same order.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .frames import HEADER, encode
from .messages import AgentLog
from .stream import ResumableStream, StreamError

SOCKET = "socket"
LOG = "keeper.log"
PING_SECONDS = 3.0
SILENCE_SECONDS = 15.0
"""A connection on which nothing came for so long is dead: the other end pings far more often."""

MOST_PRINTED = 4 * 1024 * 1024
"""Bytes that may wait for the driver before what is printed is dropped."""

TICK_SECONDS = 0.25
READ_BYTES = 1 << 18
LAST_WORDS_SECONDS = 5.0
"""How long an agent whose driver is gone has to end."""


class Connection:
    """One visit of a driver."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.heard = now
        self.unsent = b""


class Keeper:
    """The keeper's loop.

    Parameters
    ----------
    folder : Path
        Its own folder, made already and open to its user alone.
    command : sequence of str
        The agent.
    orphan_after : float
        Seconds without a driver before everything here ends.
    """

    def __init__(self, folder: Path, command: Sequence[str], orphan_after: float) -> None:
        self._folder = folder
        self._orphan_after = orphan_after
        self._stream = ResumableStream()
        self._selector = selectors.DefaultSelector()
        self._connection: Connection | None = None
        self._visited = time.monotonic()
        self._next_ping = 0.0
        self._to_agent = bytearray()
        self._said = bytearray()
        self._printed = bytearray()
        self._heard_to_the_end: set[int] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._agent = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def run(self) -> None:
        """Keep until the agent has ended and all it said is delivered, or no driver comes."""
        self._listen()
        try:
            while not self._over():
                self._turn()
        finally:
            self._end_agent()
            self._listener.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _listen(self) -> None:
        # The folder is the user's alone, so nobody else reaches the socket in it.
        path = self._folder / SOCKET
        unfinished = path.with_suffix(".new")
        self._listener.bind(str(unfinished))
        self._listener.listen(2)
        # Whoever waits for the socket finds one that is listened to.
        unfinished.rename(path)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe, False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._stderr, selectors.EVENT_READ, self._hear_prints)

    @property
    def _stdin(self) -> int:
        assert self._agent.stdin is not None
        return self._agent.stdin.fileno()

    @property
    def _stdout(self) -> int:
        assert self._agent.stdout is not None
        return self._agent.stdout.fileno()

    @property
    def _stderr(self) -> int:
        assert self._agent.stderr is not None
        return self._agent.stderr.fileno()

    def _over(self) -> bool:
        delivered = self._stream.settled or self._stream.finished
        if self._stdout in self._heard_to_the_end and delivered:
            return True
        return time.monotonic() - self._visited > self._orphan_after

    def _turn(self) -> None:
        self._mind_agent()
        for key, _ in self._selector.select(TICK_SECONDS):
            key.data()
        now = time.monotonic()
        connection = self._connection
        if connection is not None:
            self._visited = now
            if now - connection.heard > SILENCE_SECONDS:
                self._drop()
            elif now >= self._next_ping:
                self._next_ping = now + PING_SECONDS
                self._stream.ping()
        self._send()
        self._tell_agent()

    # -- the driver

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self._drop()
        self._connection = Connection(sock, time.monotonic())
        self._stream.connect()
        self._selector.register(sock, selectors.EVENT_READ, self._hear_driver)

    def _hear_driver(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop()
            return
        connection.heard = time.monotonic()
        try:
            self._stream.feed(data)
        except StreamError as error:
            sys.stderr.write(f"the connection is given up: {error}\n")
            self._drop()
        self._to_agent += self._stream.read()

    def _send(self) -> None:
        connection = self._connection
        while connection is not None and (connection.unsent or (data := self._stream.outgoing())):
            connection.unsent = connection.unsent or data
            try:
                sent = connection.sock.send(connection.unsent)
            except BlockingIOError:
                return
            except OSError:
                self._drop()
                return
            connection.unsent = connection.unsent[sent:]

    def _drop(self) -> None:
        if self._connection is not None:
            self._selector.unregister(self._connection.sock)
            self._connection.sock.close()
            self._connection = None

    # -- the agent

    def _mind_agent(self) -> None:
        """Listen to the agent, unless so much waits for the driver that it should wait too."""
        listens = self._stdout in self._selector.get_map()
        if self._stdout in self._heard_to_the_end or self._stream.full:
            if listens:
                self._selector.unregister(self._stdout)
        elif not listens:
            self._selector.register(self._stdout, selectors.EVENT_READ, self._hear_agent)

    def _hear_agent(self) -> None:
        self._said += self._read(self._stdout)
        whole = 0
        while len(self._said) - whole >= HEADER.size:
            (length, _) = HEADER.unpack_from(self._said, whole)
            if len(self._said) - whole < HEADER.size + length:
                break
            whole += HEADER.size + length
        # Whole messages only, so that what was printed can be put between them.
        self._stream.write(bytes(self._said[:whole]))
        del self._said[:whole]

    def _hear_prints(self) -> None:
        self._printed += self._read(self._stderr)
        lines, newline, rest = self._printed.rpartition(b"\n")
        if len(rest) > READ_BYTES:
            lines, newline, rest = self._printed, bytearray(b"\n"), bytearray()
        if newline:
            self._printed = rest
            # A fit must not stop because nobody takes what it prints.
            if self._stream.waiting < MOST_PRINTED:
                self._stream.write(encode(AgentLog(text=lines.decode(errors="replace"))))

    def _read(self, pipe: int) -> bytes:
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            self._selector.unregister(pipe)
            self._heard_to_the_end.add(pipe)
        return data

    def _tell_agent(self) -> None:
        while self._to_agent and self._agent.stdin and not self._agent.stdin.closed:
            try:
                del self._to_agent[: os.write(self._stdin, self._to_agent)]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._to_agent.clear()
        if self._stream.finished and self._agent.stdin and not self._agent.stdin.closed:
            self._agent.stdin.close()

    def _end_agent(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            if self._agent.stdin is not None:
                self._agent.stdin.close()
        try:
            self._agent.wait(LAST_WORDS_SECONDS)
        except subprocess.TimeoutExpired:
            self._agent.kill()
            self._agent.wait()


def main() -> None:
    """``python -m skygrid.worker.keeper --folder F --orphan-after S -- COMMAND ...``."""
    parser = argparse.ArgumentParser(prog="skygrid.worker.keeper")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--orphan-after", type=float, default=600.0)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    Keeper(args.folder, args.command, args.orphan_after).run()


if __name__ == "__main__":
    main()
