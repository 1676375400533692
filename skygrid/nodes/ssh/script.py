"""A script on a host: its start by the login shell, its output, its errors and its end.

sshd gives each command to the user's login shell, which reads start files first. A script therefore
prints a mark before anything else. A login shell that ends or waits without it runs no commands.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import paramiko

from skygrid.config import limits
from skygrid.environment.shell_commands import SHELL_MARK, for_login_shell
from skygrid.errors import reason
from skygrid.util.terminal import printable
from skygrid.worker.keeper.bridge import MarkSkipper
from skygrid.worker.wire.stream import StreamError

from .connection import Connection
from .failures import HostError, no_command, reads_input, shell_is_silent

READ_BYTES = 1 << 18

ERROR_LINES = 20
"""Last lines of standard error that are kept for messages."""

SHOWN_LINES = 3
"""Last lines of the host that a message quotes."""

BROKEN = (OSError, EOFError, paramiko.SSHException)
"""Exceptions that paramiko raises for a lost connection; the type depends on the moment."""


def start_script(
    connection: Connection, script: str, log: Callable[[bytes], None] = lambda data: None
) -> RunningScript:
    """Start a POSIX sh script and wait until the login shell runs it.

    Parameters
    ----------
    connection : Connection
    script : str
    log : callable, optional
        Receives standard error.

    Raises
    ------
    HostError
        If the login shell does not run commands.
    OSError
        If the connection breaks, or the login shell is silent for too long.
    """
    running = RunningScript(connection, script, log)
    try:
        if not running.begins(limits.SSH_SHELL):
            slow = not _shell_runs_without_input(connection)
            if not running.begins(limits.SSH_SHELL):
                target = connection.target
                raise shell_is_silent(target) if slow else reads_input(target)
    except BaseException:
        running.close()
        raise
    return running


def _shell_runs_without_input(connection: Connection) -> bool:
    """Return True if the login shell runs a command whose input has ended.

    This tells a start file that reads input, and waits for it, from a host that is slow.
    """
    try:
        other = RunningScript(connection, "exit 0", lambda data: None)
    except OSError:
        return False  # sshd allows one command at a time (MaxSessions), or the connection broke
    try:
        other.end_input()
        return other.begins(limits.SSH_SHELL_SLOW)
    finally:
        other.close()


class RunningScript:
    """A script that was sent to a host; `start_script` makes one that runs."""

    def __init__(self, connection: Connection, script: str, log: Callable[[bytes], None]) -> None:
        self._target = connection.target
        self._early = b""
        self._skipper = MarkSkipper(f"\n{SHELL_MARK}\n".encode())
        self._channel = connection.execute(for_login_shell(script))
        self._errors = _Errors(self._channel, log)
        threading.Thread(
            target=_close_after_exit, args=(self._channel,), name="ssh-exit", daemon=True
        ).start()

    def begins(self, seconds: float) -> bool:
        """Skip the output of start files; return False if the script does not run in time.

        Raises
        ------
        HostError
            If the login shell ends before the script runs.
        OSError
            If the connection breaks.
        """
        until = time.monotonic() + seconds
        self._channel.settimeout(1.0)
        while not self._skipper.found:
            try:
                data = _received(self._channel)
            except TimeoutError:
                if time.monotonic() > until:
                    return False
                continue
            if not data:
                raise self._no_command()
            self._skip(data)
        self._channel.settimeout(limits.SSH_STEP)
        return True

    def _skip(self, data: bytes) -> None:
        try:
            self._early = self._skipper.feed(data)
        except StreamError as error:
            raise HostError(
                f"{self._target.spelled}: {error}. See what your shell's start "
                "files there print, and let them print only in interactive shells"
            ) from error

    def _no_command(self) -> Exception:
        status = self.exit_status()
        if status is None:
            return ConnectionResetError("the connection broke")
        printed = printable(self._skipper.noise.decode(errors="replace"), most=4000).splitlines()
        return no_command(self._target, status, _shown([*printed, *self._errors.lines()]))

    def receive(self) -> bytes:
        """Return output of the script; empty at its end.

        Raises
        ------
        OSError
            If the connection breaks, or the host is silent for too long.
        """
        early, self._early = self._early, b""
        return early or _received(self._channel)

    def feed(self, data: bytes) -> None:
        """Send standard input, and its end, from a thread."""
        threading.Thread(
            target=_feed, args=(self._channel, data), name="ssh-stdin", daemon=True
        ).start()

    def end_input(self) -> None:
        """Close standard input. Raises OSError if the connection is broken."""
        with _connection_errors():
            self._channel.shutdown_write()

    def write(self, data: bytes) -> None:
        """Send standard input. Raises OSError if the connection is broken or blocked."""
        with _connection_errors():
            self._channel.sendall(data)

    def exit_status(self) -> int | None:
        """Return the exit status after the end of the output; None if the host sent none."""
        if not self._channel.status_event.wait(limits.SSH_STATUS):
            return None
        status = self._channel.recv_exit_status()
        return None if status < 0 else status

    def message(self) -> str:
        """Return the last line of standard error with the prefix ``skygrid:``, else the last
        lines."""
        lines = self._errors.lines()
        ours = [line.removeprefix("skygrid: ") for line in lines if line.startswith("skygrid: ")]
        return ours[-1] if ours else _shown(lines) or "it printed nothing"

    def close(self) -> None:
        """Close the channel, not the connection."""
        self._channel.close()


class _Errors:
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


def _shown(lines: Sequence[str]) -> str:
    """Return the last lines that are not blank, as one line."""
    return " / ".join([line.strip() for line in lines if line.strip()][-SHOWN_LINES:])


def _received(channel: paramiko.Channel) -> bytes:
    """Return bytes of a channel; empty at the end. Raises OSError."""
    with _connection_errors():
        return channel.recv(READ_BYTES)


@contextlib.contextmanager
def _connection_errors() -> Iterator[None]:
    try:
        yield
    except (EOFError, paramiko.SSHException) as error:
        raise ConnectionResetError(f"the connection broke: {reason(error)}") from error


def _close_after_exit(channel: paramiko.Channel) -> None:
    """Close a channel some time after its command has ended.

    A process that a start file left in the background keeps the output open.
    """
    channel.status_event.wait()
    until = time.monotonic() + limits.SSH_LINGER
    while not channel.closed and time.monotonic() < until:
        if channel.recv_ready() or channel.recv_stderr_ready():
            until = time.monotonic() + limits.SSH_LINGER
        time.sleep(0.1)
    with contextlib.suppress(*BROKEN):  # a broken connection is closed already
        channel.close()


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except BROKEN:
        return  # the reader of the channel reports the cause
