"""A node on this machine: a child process, whose standard streams are the channel."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from skygrid.config import limits
from skygrid.errors import NodeError
from skygrid.worker.machine.process_group import end_session, signal_name
from skygrid.worker.wire.blobs import Blob

LOGGER = logging.getLogger(__name__)

READ_BYTES = 1 << 18


STREAMS = ("stdin", "stdout", "stderr")


def agent_command(slots: int, vcpus: int, python: str = sys.executable) -> list[str]:
    """Return the command that runs an agent.

    Parameters
    ----------
    slots : int
        Fits at a time.
    vcpus : int
        Processors that the slots share.
    python : str
        Interpreter.
    """
    # -P: a file in the working directory must not replace a module of the standard library.
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
    variables : mapping of str to str, optional
        Environment variables of the agent, in addition to those of this process.
    """

    # The agent opens /proc/PID/fd, which only Linux has.
    shares_files = sys.platform == "linux"

    def __init__(self, command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._variables = dict(variables or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Lock()
        self._closed = False
        # A descriptor is closed only while no thread uses it: the system may reuse its number at
        # once, and the thread would then use another pipe.
        self._in_use = {stream: threading.Lock() for stream in STREAMS}

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
        with self._closing:
            if self._closed:
                raise NodeError(f"{self._command[0]} was not started: its channel was closed")
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    start_new_session=True,
                    env={**os.environ, **self._variables},
                )
                LOGGER.debug("started process %d: %s", self._process.pid, self._command)
            except OSError as error:
                raise NodeError(f"cannot start {self._command[0]}: {error.strerror}") from error

    def read(self) -> bytes:
        """Read from the agent's standard output."""
        return self._read("stdout")

    def read_log(self) -> bytes:
        """Read from the agent's standard error."""
        return self._read("stderr")

    def _read(self, stream: str) -> bytes:
        with self._in_use[stream]:
            pipe = getattr(self._running, stream)
            return b"" if pipe.closed else os.read(pipe.fileno(), READ_BYTES)

    def write(self, data: bytes) -> None:
        """Write to the agent's standard input."""
        view = memoryview(data)
        with self._in_use["stdin"]:
            pipe: Any = self._running.stdin
            if pipe.closed:
                raise BrokenPipeError("the channel was closed")
            while view:
                view = view[os.write(pipe.fileno(), view) :]

    def url_of(self, blob: Blob) -> str | None:
        """Return None: blobs are not uploaded."""
        return None

    def mending(self) -> bool:
        """Return False: a pipe cannot be repaired."""
        return False

    def ended(self) -> str:
        """Return how the agent's process ended; wait up to `limits.AGENT_END` for the end."""
        if not self._ends_within(limits.AGENT_END):
            return "closed its channel"
        code = self._running.returncode
        if code >= 0:
            return f"exit code {code}"
        return f"killed by {signal_name(-code)}"

    def error(self) -> NodeError | None:
        """Return None: a process can always be started again."""
        return None

    def kill(self) -> None:
        """Send SIGKILL to the agent; its slots end with it."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Close the agent's input, which ends it; kill it when it does not."""
        with self._closing:
            self._closed = True
            if self._process is None:
                return
            self._end(self._process)
            # Slots end with their agent; processes that fits started may not.
            end_session(self._process.pid)
            for stream in STREAMS:
                self._close_stream(stream)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the process and reap it."""
        if not self._close_stream("stdin") or not self._ends_within(limits.AGENT_END):
            process.kill()
            process.wait()

    def _close_stream(self, stream: str) -> bool:
        """Close one stream; return False, and leave it open, if a thread still uses it."""
        if not self._in_use[stream].acquire(timeout=limits.STREAM_END):
            return False
        try:
            getattr(self._running, stream).close()
        except OSError:
            pass  # the agent did not read the last bytes, which are not needed any more
        finally:
            self._in_use[stream].release()
        return True

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._running.wait(seconds)
        except subprocess.TimeoutExpired:  # it still runs
            return False
        return True
