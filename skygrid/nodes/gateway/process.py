"""The driver's side of a gateway: a child process that is started when it is first needed."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from typing import Any

import msgspec

from skygrid.config import limits
from skygrid.environment.credentials import masked
from skygrid.errors import NodeError
from skygrid.nodes.gateway.cluster import GatewaySettings
from skygrid.nodes.gateway.lines import Lines
from skygrid.util.terminal import printable
from skygrid.worker.machine.process_group import end_session, signal_name
from skygrid.worker.wire.blobs import Blob

LOGGER = logging.getLogger(__name__)

READ_BYTES = 1 << 16
TAIL_LINES = 3
"""Last lines of a gateway that an error message quotes."""


class Gateway:
    """A gateway, started again after it has ended. Thread-safe.

    Parameters
    ----------
    module : str
        Module to run.
    title : str
        Name of the cluster's library, for messages.
    settings : GatewaySettings
        Its `folder` is chosen here.
    """

    def __init__(self, module: str, title: str, settings: GatewaySettings) -> None:
        self._module, self._title, self._settings = module, title, settings
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._closed = False

    def connection(self) -> Connection:
        """Return a connection to the cluster; wait for it.

        Raises
        ------
        NodeError
            If the cluster cannot be reached.
        """
        with self._lock:
            if self._closed:
                raise NodeError(f"the gateway to {self._title} was not started: it was closed")
            if self._connection is None or self._connection.over:
                if self._connection is not None:
                    self._connection.close()
                self._connection = Connection(self._module, self._title, self._settings)
            connection = self._connection
        connection.wait()
        return connection

    def close(self) -> None:
        """End the gateway, and all that it started."""
        self._closed = True
        connection = self._connection  # without the lock: a connection that is awaited ends too
        if connection is not None:
            connection.close()


class Connection:
    """One process of a gateway."""

    def __init__(self, module: str, title: str, settings: GatewaySettings) -> None:
        self._title = title
        self._folder = _short_folder()
        self._settings = msgspec.structs.replace(settings, folder=self._folder)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        self._lines = Lines(ours)
        self._known = threading.Event()
        self.nodes = 0
        """Number of nodes that the cluster gives."""

        self._problem = ""
        self._tail: list[str] = []
        self._numbers = iter(range(1 << 62))
        self._put: set[str] = set()
        self._putting = threading.Lock()
        self._closing = threading.Lock()
        self.over = False
        """True once the process has ended or is no use."""

        self._log = threading.Thread(target=self._take_log, name="gateway-log", daemon=True)
        self._log.start()
        threading.Thread(target=self._take_events, name="gateway", daemon=True).start()
        with suppress(OSError):  # it has ended; `wait` says how
            self._lines.send(msgspec.to_builtins(self._settings))

    def wait(self) -> None:
        """Wait until the cluster is connected.

        Raises
        ------
        NodeError
            If it cannot be reached.
        """
        limit = self._settings.connect_seconds
        if not self._known.wait(limit):
            self._fail(f"{self._title} did not answer within {limit:g} s (connect_timeout)")
            self._process.kill()
        if self._problem:
            self.over = True
            raise NodeError(self._problem)

    # -- orders

    def open(self, index: int) -> tuple[int, socket.socket]:
        """Return the number and the socket of a new channel to a node."""
        ours, theirs = socket.socketpair()
        number = next(self._numbers)
        with theirs:
            self._order({"do": "open", "channel": number, "index": index}, theirs.fileno())
        return number, ours

    def kill(self, number: int) -> None:
        """End a channel and its agent at once. Safe in a signal handler."""
        with suppress(OSError):  # the gateway has ended, and all agents with it
            self._lines.send({"do": "kill", "channel": number})

    def store(self, number: int, blob: Blob) -> None:
        """Bring a blob to the node of a channel, which answers with its path."""
        with self._putting:
            if blob.digest not in self._put:
                self._put.add(blob.digest)
                order = {"do": "put", "digest": blob.digest, "size": blob.size}
                self._order(order, blob.file.fileno())
                weakref.finalize(blob, self._forget, blob.digest)
        self._order({"do": "store", "channel": number, "digest": blob.digest})

    def _forget(self, digest: str) -> None:
        self._put.discard(digest)
        with suppress(OSError):  # the gateway has ended
            self._lines.send({"do": "forget", "digest": digest})

    def _order(self, order: Any, descriptor: int | None = None) -> None:
        try:
            self._lines.send(order, descriptor)
        except OSError as error:
            raise NodeError(self.how_it_ended()) from error

    # -- events

    def _take_events(self) -> None:
        with suppress(OSError, ValueError):  # the socket was closed
            while (event := self._lines.wait()) is not None:
                if event["event"] == "connected":
                    self.nodes = event["nodes"]
                    self._known.set()
                else:
                    self._fail(event["reason"])
        self.over = True
        self._fail(self.how_it_ended())

    def _fail(self, problem: str) -> None:
        if not self._known.is_set():
            self._problem = masked(problem)
            self._known.set()

    def _take_log(self) -> None:
        assert self._process.stderr is not None
        # The process is ended while this reads.
        with self._process.stderr as stream, suppress(OSError, ValueError):
            for line in stream:
                text = printable(masked(line.decode(errors="replace")).rstrip(), 500)
                if text:
                    LOGGER.info("%s: %s", self._title, text)
                    self._tail = [*self._tail, text][-TAIL_LINES:]

    def how_it_ended(self) -> str:
        """Return how the gateway ended, with its last lines."""
        try:
            code = self._process.wait(limits.STREAM_END)
        except subprocess.TimeoutExpired:  # it only closed its socket
            how = "it closed its connection"
        else:
            how = f"exit code {code}" if code >= 0 else f"killed by {signal_name(-code)}"
            # Its last lines may still be unread; a child of it may keep the stream open.
            self._log.join(limits.STREAM_END)
        return "\n".join((f"the gateway to {self._title} ended: {how}", *self._tail))

    # -- the end

    def close(self) -> None:
        """End the process and its session; delete its folder."""
        with self._closing:
            self.over = True
            with suppress(OSError):  # the other end is closed
                self._lines.socket.shutdown(socket.SHUT_RDWR)
            try:
                self._process.wait(limits.GATEWAY_END)
            except subprocess.TimeoutExpired:
                LOGGER.warning("the gateway to %s does not end: it is killed", self._title)
                self._process.kill()
                self._process.wait()
            end_session(self._process.pid)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._lines.socket.close()


def _short_folder() -> str:
    # Ray puts sockets far below it, and the path of a socket may have 107 bytes; see unix(7).
    return tempfile.mkdtemp(prefix="skygrid-", dir="/tmp" if os.path.isdir("/tmp") else None)
