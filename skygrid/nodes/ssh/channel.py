"""Commands on a host: one that is waited for, and the bridge to an agent's keeper."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Callable, Iterator

import paramiko

from skygrid.config import limits
from skygrid.environment.shell_commands import NOT_READY_EXIT
from skygrid.errors import NodeError
from skygrid.nodes.ssh.reconnecting import NodeGoneError
from skygrid.util.terminal_text import printable
from skygrid.worker.keeper.bridge import IO_ERROR_EXIT, NO_KEEPER_EXIT, MarkSkipper
from skygrid.worker.wire.stream import StreamError

from .connection import Connection
from .failures import HostError, UnreachableError

READ_BYTES = 1 << 18


MOST_OUTPUT = 1 << 20
"""Bytes that a short command may print."""

ERROR_LINES = 20
"""Lines of what a command says last that are kept for a message."""


BROKEN = (OSError, EOFError, paramiko.SSHException)
"""What paramiko raises when a connection is not there any more, by the moment it notices."""


@contextlib.contextmanager
def _as_broken() -> Iterator[None]:
    try:
        yield
    except (EOFError, paramiko.SSHException) as error:
        raise ConnectionResetError(f"the connection broke: {error}") from error


class NotPreparedError(Exception):
    """The host has to be prepared first."""


class Errors:
    """Drains the standard error of a command, which would otherwise block its output."""

    def __init__(self, channel: paramiko.Channel, log: Callable[[bytes], None]) -> None:
        self._channel = channel
        self._log = log
        self._last = b""
        self._thread = threading.Thread(target=self._drain, name="ssh-stderr", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        while True:
            try:
                data = self._channel.recv_stderr(READ_BYTES)
            except TimeoutError:
                continue
            except BROKEN:
                return
            if not data:
                return
            self._last = (self._last + data)[-ERROR_LINES * 200 :]
            self._log(data)

    def lines(self) -> list[str]:
        """The last lines, once the command has ended."""
        self._thread.join(limits.SSH_STATUS)
        text = printable(self._last.decode(errors="replace"), most=ERROR_LINES * 200)
        return text.splitlines()[-ERROR_LINES:]

    def message(self) -> str:
        """The last line that our own programs wrote for a person, or simply the last one."""
        lines = [line for line in self.lines() if line.strip()]
        ours = [line.removeprefix("skygrid: ") for line in lines if line.startswith("skygrid: ")]
        return (ours or lines or ["it said nothing"])[-1]


class BridgeChannel:
    """A `nodes.ssh.reconnecting.Channel`: the bridge on a host, over a connection of its own.

    Parameters
    ----------
    connection : Connection
        Closed together with the channel.
    command : str
        Runs the bridge.
    log : callable
        Takes what it writes to its standard error.
    ready_seconds : float
        How long the bridge may take to start.

    Raises
    ------
    NotPreparedError
        If the host has not got what the command needs.
    NodeError
        As for `read`.
    OSError
        If the connection breaks.
    """

    def __init__(
        self,
        connection: Connection,
        command: str,
        log: Callable[[bytes], None],
        ready_seconds: float,
    ) -> None:
        self._connection = connection
        self._channel = connection.execute(command)
        self._errors = Errors(self._channel, log)
        self._early = b""
        self._await_mark(ready_seconds)

    def _await_mark(self, ready_seconds: float) -> None:
        """Skip what a login shell prints before the bridge speaks."""
        skipper, until = MarkSkipper(), time.monotonic() + ready_seconds
        while not skipper.found:
            try:
                self._early = skipper.feed(self._receive())
            except TimeoutError:
                if time.monotonic() > until:
                    raise UnreachableError("the bridge on it did not start") from None
            except StreamError as error:
                raise HostError(
                    f"{self._connection.target.spelled}: {error}. See what your shell's start "
                    "files there print, and let them print only in interactive shells"
                ) from error

    def read(self) -> bytes:
        """Bytes from the keeper.

        Raises
        ------
        NodeGoneError
            If there is no keeper any more.
        NodeError
            If the bridge cannot work there; the message is its own.
        OSError
            If the connection breaks or is silent for too long.
        """
        early, self._early = self._early, b""
        return early or self._receive()

    def _receive(self) -> bytes:
        data = _received(self._channel)
        if data:
            return data
        status = exit_status(self._channel)
        if status == NOT_READY_EXIT:
            raise NotPreparedError
        if status == NO_KEEPER_EXIT:
            raise NodeGoneError("the agent and its keeper have ended")
        if status == IO_ERROR_EXIT:
            raise HostError(self._errors.message())
        if status is None:
            raise ConnectionResetError("the connection broke")
        raise ConnectionResetError(f"the bridge ended with exit code {status}")

    def write(self, data: bytes) -> None:
        """Send bytes; raises OSError when the connection is broken or takes nothing."""
        with _as_broken():
            self._channel.sendall(data)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def exit_status(channel: paramiko.Channel) -> int | None:
    """How a command ended whose output has ended; None when nobody told."""
    if not channel.status_event.wait(limits.SSH_STATUS):
        return None
    status = channel.recv_exit_status()
    return None if status < 0 else status


def run_command(
    connection: Connection,
    command: str,
    data: bytes,
    log: Callable[[bytes], None],
    seconds: float,
    on_beat: Callable[[], None] = lambda: None,
) -> tuple[int, str]:
    """Run a command to its end, however long it says nothing, as long as the host lives.

    Parameters
    ----------
    connection : Connection
    command : str
        For the host's shell.
    data : bytes
        Its standard input.
    log : callable
        Takes what it writes to its standard error.
    seconds : float
        How long it may take.
    on_beat : callable, optional
        Called every few seconds while it runs.

    Returns
    -------
    status, message
        Exit code, and the last line it had for a person.

    Raises
    ------
    OSError
        If the connection breaks, or the host falls silent.
    NodeError
        If it takes longer.
    """
    channel = connection.execute(_beating(command))
    errors = Errors(channel, log)
    sender = threading.Thread(target=_feed, args=(channel, data), name="ssh-stdin", daemon=True)
    sender.start()
    until = time.monotonic() + seconds
    try:
        while _received(channel):
            on_beat()
            if time.monotonic() > until:
                raise NodeError(f"it was not done within {seconds:.0f} s")
        status = exit_status(channel)
    finally:
        channel.close()
    if status is None:
        raise ConnectionResetError("the connection broke")
    return status, errors.message()


def _received(channel: paramiko.Channel) -> bytes:
    with _as_broken():
        return channel.recv(READ_BYTES)


def read_output(connection: Connection, command: str, seconds: float) -> bytes:
    """Run a short command and return its standard output, whatever its exit code.

    Raises
    ------
    OSError
        If the connection breaks, or the host falls silent.
    NodeError
        If it takes longer than `seconds`, or says more than a short command should.
    """
    return run_for_output(connection, command, seconds)[1]


def run_for_output(
    connection: Connection, command: str, seconds: float
) -> tuple[int | None, bytes, str]:
    """Run a short command.

    Returns
    -------
    status, output, message
        Exit code, None when nobody told; standard output; the last line it had for a person.

    Raises
    ------
    OSError, NodeError
        As `read_output`.
    """
    channel = connection.execute(command)
    errors = Errors(channel, lambda data: None)
    output, until = b"", time.monotonic() + seconds
    try:
        with _as_broken():
            channel.shutdown_write()
        while data := _received(channel):
            output += data
            if len(output) > MOST_OUTPUT or time.monotonic() > until:
                raise NodeError("its shell runs no plain command: see what its start files do")
        return exit_status(channel), output, errors.message()
    finally:
        channel.close()


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except BROKEN:
        return  # the command has ended, or the connection is broken: its reader sees which


def _beating(command: str) -> str:
    """The command with a dot on its standard output now and then, which a dead host lacks."""
    beat = f"(while sleep {limits.SSH_BEAT} >/dev/null </dev/null; do echo .; done) 2>/dev/null &"
    script = (
        f"{beat} beat=$!; ({command}) >/dev/null; status=$?; kill $beat 2>/dev/null; exit $status"
    )
    return f"exec sh -c {shlex.quote(script)}"
