"""Commands on a host: short commands, and the bridge to an agent's keeper."""

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
from skygrid.util.terminal import printable
from skygrid.worker.keeper.bridge import IO_ERROR_EXIT, NO_KEEPER_EXIT, MarkSkipper
from skygrid.worker.wire.stream import StreamError

from .connection import Connection
from .failures import HostError, UnreachableError

READ_BYTES = 1 << 18


MOST_OUTPUT = 1 << 20
"""Maximum output of a short command, in bytes."""

ERROR_LINES = 20
"""Last lines of standard error that are kept for messages."""


BROKEN = (OSError, EOFError, paramiko.SSHException)
"""Exceptions that paramiko raises for a lost connection; the type depends on the moment."""


@contextlib.contextmanager
def _connection_errors() -> Iterator[None]:
    try:
        yield
    except (EOFError, paramiko.SSHException) as error:
        raise ConnectionResetError(f"the connection broke: {error}") from error


class NotPreparedError(Exception):
    """The host must be prepared first."""


class Errors:
    """Reader of a command's standard error, which would block the command if it filled up."""

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
            except TimeoutError:  # nothing was printed for a while
                continue
            except BROKEN:  # the reader of the channel reports the cause
                return
            if not data:
                return
            self._last = (self._last + data)[-ERROR_LINES * 200 :]
            self._log(data)

    def lines(self) -> list[str]:
        """Return the last lines, after the command has ended."""
        self._thread.join(limits.SSH_STATUS)
        text = printable(self._last.decode(errors="replace"), most=ERROR_LINES * 200)
        return text.splitlines()[-ERROR_LINES:]

    def message(self) -> str:
        """Return the last line with the prefix ``skygrid:``, else the last line."""
        lines = [line for line in self.lines() if line.strip()]
        ours = [line.removeprefix("skygrid: ") for line in lines if line.startswith("skygrid: ")]
        return (ours or lines or ["it printed nothing"])[-1]


class BridgeChannel:
    """A `nodes.ssh.reconnecting.Channel`: the bridge on a host, over its own connection.

    Parameters
    ----------
    connection : Connection
        Closed together with the channel.
    command : str
        Command that runs the bridge.
    log : callable
        Receives the bridge's standard error.
    ready_seconds : float
        Time limit for the start of the bridge.

    Raises
    ------
    NotPreparedError
        If the host lacks the environment or the code.
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
        """Skip the output of a login shell before the bridge's first bytes."""
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
        """Return bytes from the keeper.

        Raises
        ------
        NodeGoneError
            If the keeper has ended.
        NodeError
            If the bridge cannot work on the host; the message is the bridge's.
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
        """Send bytes. Raises OSError if the connection is broken or blocked."""
        with _connection_errors():
            self._channel.sendall(data)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def exit_status(channel: paramiko.Channel) -> int | None:
    """Return the exit status of a command whose output has ended; None if the host sent none."""
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
    """Run a command to its end.

    The command may be silent for long, as long as the host answers.

    Parameters
    ----------
    connection : Connection
    command : str
        Command for the host's shell.
    data : bytes
        Standard input.
    log : callable
        Receives standard error.
    seconds : float
        Time limit.
    on_beat : callable, optional
        Called every few seconds while the command runs.

    Returns
    -------
    status, message
        Exit code, and the last line for the user.

    Raises
    ------
    OSError
        If the connection breaks or the host falls silent.
    NodeError
        If the time limit passes.
    """
    channel = connection.execute(_with_heartbeat(command))
    errors = Errors(channel, log)
    sender = threading.Thread(target=_feed, args=(channel, data), name="ssh-stdin", daemon=True)
    sender.start()
    until = time.monotonic() + seconds
    try:
        while _received(channel):
            on_beat()
            if time.monotonic() > until:
                raise NodeError(f"it did not finish within {seconds:.0f} s")
        status = exit_status(channel)
    finally:
        channel.close()
    if status is None:
        raise ConnectionResetError("the connection broke")
    return status, errors.message()


def _received(channel: paramiko.Channel) -> bytes:
    with _connection_errors():
        return channel.recv(READ_BYTES)


def read_output(connection: Connection, command: str, seconds: float) -> bytes:
    """Run a short command and return its standard output, whatever its exit code.

    Raises
    ------
    OSError
        If the connection breaks or the host falls silent.
    NodeError
        If the command exceeds `seconds` or `MOST_OUTPUT`.
    """
    return run_for_output(connection, command, seconds)[1]


def run_for_output(
    connection: Connection, command: str, seconds: float
) -> tuple[int | None, bytes, str]:
    """Run a short command.

    Returns
    -------
    status, output, message
        Exit code, None if the host sent none; standard output; the last line for the user.

    Raises
    ------
    OSError, NodeError
        As `read_output`.
    """
    channel = connection.execute(command)
    errors = Errors(channel, lambda data: None)
    output, until = b"", time.monotonic() + seconds
    try:
        with _connection_errors():
            channel.shutdown_write()
        while data := _received(channel):
            output += data
            if len(output) > MOST_OUTPUT or time.monotonic() > until:
                raise NodeError(
                    "its login shell does not run a plain command: check its start files"
                )
        return exit_status(channel), output, errors.message()
    finally:
        channel.close()


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except BROKEN:
        return  # the reader of the channel reports the cause


def _with_heartbeat(command: str) -> str:
    """Wrap a command so that it prints a dot at intervals; missing dots reveal a dead host."""
    beat = f"(while sleep {limits.SSH_BEAT} >/dev/null </dev/null; do echo .; done) 2>/dev/null &"
    script = (
        f"{beat} beat=$!; ({command}) >/dev/null; status=$?; kill $beat 2>/dev/null; exit $status"
    )
    return f"exec sh -c {shlex.quote(script)}"
