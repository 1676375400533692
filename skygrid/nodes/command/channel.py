"""The channel to an agent at the far end of a command's standard streams."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from skygrid.config import limits
from skygrid.environment.credentials import masked
from skygrid.errors import NodeError
from skygrid.nodes.command.agent_start import MARK, AgentStart
from skygrid.nodes.interface import Watcher
from skygrid.nodes.local_process import LocalProcess
from skygrid.util.terminal import printable
from skygrid.worker.keeper.bridge import MarkSkipper
from skygrid.worker.wire.frames import encode
from skygrid.worker.wire.messages.to_agent import Alive
from skygrid.worker.wire.stream import StreamError

LOGGER = logging.getLogger(__name__)

TAIL_BYTES = 2000
TAIL_LINES, TAIL_CHARACTERS = 5, 300
"""Output of a command that an error message quotes: its last lines, and characters of each."""


class CommandChannel(LocalProcess):
    """An agent behind a command: `AgentStart` is written to a shell that the command runs.

    Parameters
    ----------
    command : sequence of str
        Runs ``sh`` somewhere, with its own standard streams.
    start : AgentStart
    watcher : Watcher
        Receives what the command prints to standard error.
    start_seconds : float or None
        Time limit for the answer of the agent; None: no limit.
    stop_seconds : float
        Time for the command to end after its input was closed; then it gets SIGTERM, and SIGKILL
        after the same time.
    """

    kill_signal = signal.SIGKILL
    """Signal that ends the command at once."""

    # The agent may be in a container or on another machine.
    shares_files = False

    def __init__(
        self,
        command: Sequence[str],
        start: AgentStart,
        watcher: Watcher,
        *,
        start_seconds: float | None,
        stop_seconds: float,
    ) -> None:
        super().__init__(command)
        self._start = start
        self._watcher = watcher
        self._start_seconds, self._stop_seconds = start_seconds, stop_seconds
        self._answered = self._killed = False
        self._given_up = ""
        self._closing_now = threading.Event()
        self._early = b""
        self._last = bytearray()
        self._logs = threading.Thread(target=self._pass_log, name="command-log", daemon=True)

    def start(self) -> None:
        """Run the command, start the agent through it, and wait until the agent answers.

        Raises
        ------
        NodeError
            If the command ends before that, or exceeds the time limit; the message has its last
            lines.
        """
        super().start()
        # From now on: a command that prints more than a pipe holds would wait for its reader.
        self._logs.start()
        with _Alarm(self._start_seconds, self._too_late):
            self._await_mark()
        self._answered = True
        try:
            super().write(self._start.code)
        except OSError as error:
            raise self._failed(self._how_it_ended()) from error
        threading.Thread(target=self._keep_alive, name="command-alive", daemon=True).start()

    @property
    def answered(self) -> bool:
        """True once an agent has answered."""
        return self._answered

    # -- the start

    def give_up(self, reason: str) -> None:
        """End a command whose agent has not answered; `start` fails with this reason."""
        self._given_up = reason
        self.kill()

    def _too_late(self) -> None:
        self.give_up(
            f"it started no agent within {self._start_seconds:g} s (start_timeout). Its standard "
            "input must reach {agent} unread"
        )

    def _keep_alive(self) -> None:
        # The streams of srun or ssh can stay open when this machine is gone.
        with suppress(OSError):  # the command has ended; the reader reports it
            while not self._closing_now.wait(limits.ALIVE):
                super().write(encode(Alive()))

    def _await_mark(self) -> None:
        skipper = MarkSkipper(MARK)
        with suppress(OSError):  # it has ended: the end of its output says how
            super().write(self._start.line)
        try:
            while not skipper.found:
                data = super().read()
                if not data:
                    raise self._failed(self._how_it_ended(), bytes(skipper.noise))
                self._early = skipper.feed(data)
        except StreamError as error:
            raise self._failed(
                f"{error}. Its standard output must be the agent's",
                bytes(skipper.noise),
            ) from error

    def _how_it_ended(self) -> str:
        if self._given_up or self._closed:
            return self._given_up or "it was given up"
        return f"it ended before an agent answered: {super().ended()}"

    def _failed(self, reason: str, output: bytes = b"") -> NodeError:
        self._logs.join(limits.STREAM_END)
        lines = _last_lines(bytes(self._last)) or _last_lines(output)
        return NodeError("\n".join(filter(None, (f"its command failed: {reason}", lines))))

    # -- the log

    def _pass_log(self) -> None:
        with suppress(OSError, ValueError):  # the channel was closed during the read
            while data := super().read_log():
                self._last += data
                del self._last[:-TAIL_BYTES]
                self._watcher.log(data)

    def read_log(self) -> bytes:
        """Wait for the end of the log, which the watcher receives."""
        if self._logs.ident is not None:
            self._logs.join()
        return b""

    # -- afterwards

    def read(self) -> bytes:
        """Read from the agent's standard output."""
        early, self._early = self._early, b""
        return early or super().read()

    def kill(self) -> None:
        """Send `kill_signal` to the command and its process group."""
        self._killed = True
        if self._process is not None:
            _signal_group(self._process, self.kill_signal)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._closing_now.set()
        seconds = limits.COMMAND_KILLED if self._killed else self._stop_seconds
        # Programs such as kubectl and docker remove what they made when the agent has ended.
        if self._answered and self._close_stream("stdin") and self._ends_within(seconds):
            return
        _signal_group(process, signal.SIGTERM)
        if self._ends_within(seconds):
            return
        LOGGER.info("process %d ignores SIGTERM", process.pid)
        _signal_group(process, signal.SIGKILL)
        process.wait()


class _Alarm:
    """Calls a function when a block takes too long.

    Parameters
    ----------
    seconds : float or None
        None: never.
    act : callable
    """

    def __init__(self, seconds: float | None, act: Callable[[], None]) -> None:
        self._timer = None if seconds is None else threading.Timer(seconds, act)

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process group that a process leads; nothing after its end, which frees the id."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, number)


def _last_lines(data: bytes) -> str:
    text = masked(data.decode(errors="replace"))
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(printable(line, TAIL_CHARACTERS) for line in lines[-TAIL_LINES:])
