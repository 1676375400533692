"""The keeper's agent: its process, its pipes and the data that waits for them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from typing import IO

import msgspec

from skygrid.worker.limits import AGENT_END_SECONDS, MOST_QUEUED
from skygrid.worker.machine.process_group import end_session
from skygrid.worker.wire.frames import HEADER, FrameError, encode, take_frames
from skygrid.worker.wire.messages.from_agent import AgentLog, Greeting
from skygrid.worker.wire.messages.to_agent import Attach

from .selector import Waiting

READ_BYTES = 1 << 18


class KeptAgent:
    """The agent as a child process of its keeper.

    Parameters
    ----------
    command : sequence of str
        Starts the agent.
    waiting : Waiting
        Selector of the keeper's loop.
    on_frame : callable
        Receives each frame from the agent to the driver.
    on_print : callable
        Receives lines that the agent or its fits print.
    """

    def __init__(
        self,
        command: Sequence[str],
        waiting: Waiting,
        on_frame: Callable[[bytes], None],
        on_print: Callable[[str], None],
    ) -> None:
        self._waiting = waiting
        self._on_frame, self._on_print = on_frame, on_print
        self._queued = bytearray()
        self._received = bytearray()
        self._printed = bytearray()
        self._greetings_due = 1
        """Greetings to receive before frames are passed on: one for the start of the agent and one
        for each `Attach`. Earlier frames are for earlier drivers."""

        # A session of its own, by which `end_session` finds processes that fits have left.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._stdin: IO[bytes] | None = self._process.stdin
        self._stdout: IO[bytes] | None = self._process.stdout
        self._stderr: IO[bytes] | None = self._process.stderr
        for pipe in (self._stdin, self._stdout, self._stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    # -- to the agent

    def attach(self) -> None:
        """Announce another driver to the agent."""
        self._queued += encode(Attach())
        self._greetings_due += 1

    def take(self, frames: Iterable[bytes]) -> None:
        """Queue frames of the driver for the agent."""
        for frame in frames:
            self._queued += frame

    @property
    def behind(self) -> bool:
        """True if too much waits for the agent to read more from the driver."""
        return len(self._queued) > MOST_QUEUED

    def tell(self) -> None:
        """Write as many queued bytes as the agent's pipe takes."""
        while self._queued and self._stdin is not None:
            try:
                del self._queued[: os.write(self._stdin.fileno(), self._queued)]
            except BlockingIOError:  # the pipe is full
                return
            except BrokenPipeError:
                self.close_input()
                return

    @property
    def flushed(self) -> bool:
        """True if no bytes are queued."""
        return not self._queued

    def close_input(self) -> None:
        """Close the agent's input, which ends the agent; drop queued bytes."""
        self._queued.clear()
        self._close(self._stdin)
        self._stdin = None

    # -- from the agent

    def choose(self, *, frames: bool, prints: bool) -> None:
        """Register the pipes that can be handled now.

        Parameters
        ----------
        frames, prints : bool
            True if there is room for frames, and for printed lines.
        """
        if self._stdout is not None:
            self._waiting.want(self._stdout.fileno(), self._read_frames, read=frames)
        if self._stderr is not None:
            self._waiting.want(self._stderr.fileno(), self._read_prints, read=prints)
        if self._stdin is not None:
            self._waiting.want(self._stdin.fileno(), self.tell, write=bool(self._queued))

    @property
    def silent(self) -> bool:
        """True if the agent's output has ended."""
        return self._stdout is None

    def _read_frames(self) -> None:
        assert self._stdout is not None
        data = _read(self._stdout)
        if data is None:
            self._close(self._stdout)
            self._stdout = None
            return
        self._received += data
        try:
            # Pass on whole messages only: printed lines are inserted between them.
            frames = take_frames(self._received)
        except FrameError as error:
            # After a damaged frame the next one cannot be found.
            self._on_frame(encode(AgentLog(text=f"the agent broke the protocol: {error}")))
            self._received.clear()
            self._close(self._stdout)
            self._stdout = None
            return
        for frame in frames:
            if self._greetings_due and _is_greeting(frame):
                self._greetings_due -= 1
            if not self._greetings_due:
                self._on_frame(frame)

    def _read_prints(self) -> None:
        assert self._stderr is not None
        data = _read(self._stderr)
        if data is None:
            self._close(self._stderr)
            self._stderr = None
            return
        self._printed += data
        lines, newline, rest = self._printed.rpartition(b"\n")
        if len(rest) > READ_BYTES:
            lines, newline, rest = self._printed, bytearray(b"\n"), bytearray()
        if newline:
            self._printed = rest
            self._on_print(lines.decode(errors="replace"))

    # -- its end

    def _close(self, pipe: IO[bytes] | None) -> None:
        if pipe is not None:
            self._waiting.forget(pipe.fileno())
            pipe.close()

    def end(self, patience: float = AGENT_END_SECONDS) -> None:
        """End the agent, and processes that its fits have left.

        Parameters
        ----------
        patience : float
            Seconds to wait before the agent is killed.
        """
        self.close_input()
        # Closing its output ends an agent that is blocked on writing.
        self._close(self._stdout)
        self._stdout = None
        self._close(self._stderr)
        self._stderr = None
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Slots end with their agent, but processes that fits started may not.
        end_session(self._process.pid)


def _read(pipe: IO[bytes]) -> bytes | None:
    """Return the available bytes, possibly none; None at the end of the pipe."""
    try:
        return os.read(pipe.fileno(), READ_BYTES) or None
    except BlockingIOError:  # the pipe is empty
        return b""


def _is_greeting(frame: bytes) -> bool:
    try:
        _greetings.decode(memoryview(frame)[HEADER.size :])
    except msgspec.DecodeError:  # another message, which the driver decodes
        return False
    return True


_greetings = msgspec.msgpack.Decoder(Greeting)
