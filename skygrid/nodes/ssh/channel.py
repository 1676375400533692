"""Commands on a host: short commands, and the bridge to an agent's keeper."""

from __future__ import annotations

import time
from collections.abc import Callable

from skygrid.config import limits
from skygrid.environment.shell_commands import NOT_READY_EXIT
from skygrid.errors import NodeError
from skygrid.nodes.ssh.reconnecting import NodeGoneError
from skygrid.worker.keeper.bridge import (
    IO_ERROR_EXIT,
    KEEPER_FAILED_EXIT,
    NO_KEEPER_EXIT,
    MarkSkipper,
)
from skygrid.worker.wire.stream import StreamError

from .connection import Connection
from .failures import HostError, UnreachableError
from .script import start_script

MOST_OUTPUT = 1 << 20
"""Maximum output of a short command, in bytes."""


class NotPreparedError(Exception):
    """The host must be prepared first."""


class BridgeFailedError(HostError):
    """The bridge, or the keeper that it started, ended at once."""


class BridgeChannel:
    """A `nodes.ssh.reconnecting.Channel`: the bridge on a host, over its own connection.

    Parameters
    ----------
    connection : Connection
        Closed together with the channel.
    command : str
        Script that runs the bridge.
    log : callable
        Receives the bridge's standard error.
    ready_seconds : float
        Time limit for the start of the bridge.

    Raises
    ------
    NotPreparedError
        If the host lacks the environment or the code.
    BridgeFailedError
        If the bridge ends before it reaches a keeper.
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
        self._script = start_script(connection, command, log)
        self._early = b""
        self._began = False
        self._await_mark(ready_seconds)

    def _await_mark(self, ready_seconds: float) -> None:
        skipper, until = MarkSkipper(), time.monotonic() + ready_seconds
        while not skipper.found:
            try:
                self._early = skipper.feed(self._receive())
            except TimeoutError:
                if time.monotonic() > until:
                    raise UnreachableError(
                        f"the bridge on it did not start within {ready_seconds:.0f} s"
                    ) from None
            except StreamError as error:
                raise HostError(f"{self._connection.target.spelled}: {error}") from error
        self._began = True

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
        data = self._script.receive()
        if data:
            return data
        status = self._script.exit_status()
        if status is None:
            raise ConnectionResetError("the connection broke")
        if status == NOT_READY_EXIT:
            raise NotPreparedError
        if status == NO_KEEPER_EXIT:
            raise NodeGoneError("the agent and its keeper have ended")
        if status == IO_ERROR_EXIT:
            raise HostError(self._script.message())
        if status == KEEPER_FAILED_EXIT:
            raise BridgeFailedError(self._script.message())
        reason = f"the bridge on it ended with exit code {status}: {self._script.message()}"
        raise ConnectionResetError(reason) if self._began else BridgeFailedError(reason)

    def write(self, data: bytes) -> None:
        """Send bytes. Raises OSError if the connection is broken or blocked."""
        self._script.write(data)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def run_command(
    connection: Connection,
    command: str,
    data: bytes,
    log: Callable[[bytes], None],
    seconds: float,
    on_beat: Callable[[], None] = lambda: None,
) -> tuple[int, str]:
    """Run a POSIX sh script to its end.

    The script may be silent for long, as long as the host answers.

    Parameters
    ----------
    connection : Connection
    command : str
        POSIX sh.
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
    until = time.monotonic() + seconds
    running = start_script(connection, _with_heartbeat(command), log)
    try:
        running.feed(data)
        while running.receive():
            on_beat()
            if time.monotonic() > until:
                raise NodeError(f"it did not finish within {seconds:.0f} s")
        status = running.exit_status()
    finally:
        running.close()
    if status is None:
        raise ConnectionResetError("the connection broke")
    return status, running.message()


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
    """Run a short POSIX sh script.

    Returns
    -------
    status, output, message
        Exit code, None if the host sent none; standard output; the last line for the user.

    Raises
    ------
    OSError, NodeError
        As `read_output`.
    """
    output, until = b"", time.monotonic() + seconds
    running = start_script(connection, command)
    try:
        running.end_input()
        while data := running.receive():
            output += data
            if len(output) > MOST_OUTPUT or time.monotonic() > until:
                raise NodeError(
                    "its login shell does not run a plain command: check its start files"
                )
        return running.exit_status(), output, running.message()
    finally:
        running.close()


def _with_heartbeat(command: str) -> str:
    """Wrap a command so that it prints a dot at intervals; missing dots reveal a dead host."""
    beat = f"(while sleep {limits.SSH_BEAT} >/dev/null </dev/null; do echo .; done) 2>/dev/null &"
    return (
        f"{beat} beat=$!; ({command}) >/dev/null; status=$?; kill $beat 2>/dev/null; exit $status"
    )
