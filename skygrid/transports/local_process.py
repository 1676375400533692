"""A node on this machine: the agent is a child process, the channel its standard streams."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from skygrid.errors import NodeError

READ_BYTES = 1 << 18
END_SECONDS = 5.0
"""How long an agent has to end by itself after its channel was closed."""


def agent_command(slots: int, vcpus: int, python: str = sys.executable) -> list[str]:
    """The command that runs an agent.

    Parameters
    ----------
    slots : int
        Fits at a time.
    vcpus : int
        Processors for the slots to share.
    python : str
        Interpreter.

    Returns
    -------
    command : list of str
    """
    # -P: a file named like a module of the standard library must not be imported in its place.
    return [
        python,
        "-P",
        "-m",
        "skygrid.worker",
        "--slots",
        str(slots),
        "--vcpus",
        str(vcpus),
    ]


class LocalProcess:
    """An agent as a child process.

    Parameters
    ----------
    command : sequence of str
        As `agent_command` builds it.
    """

    # Through /proc/PID/fd, which only Linux has.
    shares_files = sys.platform == "linux"

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Lock()

    @property
    def pid(self) -> int:
        """Process id of the agent."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the transport was not started"
        return self._process

    def start(self) -> None:
        """Start the agent in a session of its own, out of reach of the terminal's Ctrl-C."""
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise NodeError(f"cannot start {self._command[0]}: {error.strerror}") from error

    def read(self) -> bytes:
        """Bytes from the agent's standard output."""
        return os.read(self._running.stdout.fileno(), READ_BYTES)  # type: ignore[union-attr]

    def read_log(self) -> bytes:
        """Bytes from the agent's standard error."""
        return os.read(self._running.stderr.fileno(), READ_BYTES)  # type: ignore[union-attr]

    def write(self, data: bytes) -> None:
        """Bytes to the agent's standard input."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._running.stdin.fileno(), view) :]  # type: ignore[union-attr]

    def ended(self) -> str:
        """How the agent's process ended; waits for it for a moment."""
        try:
            code = self._running.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its channel"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """SIGKILL to the agent; its slots go with it."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Close the agent's input, which ends it; kill it when it does not."""
        with self._closing:
            if self._process is None:
                return
            with contextlib.suppress(OSError):  # a broken pipe is what is wanted here
                self._running.stdin.close()  # type: ignore[union-attr]
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for stream in (self._process.stdout, self._process.stderr):
                with contextlib.suppress(OSError):  # a reader may hold it at its very end
                    stream.close()  # type: ignore[union-attr]
