"""The keeper's agent: its process, its pipes, and what waits on either side of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from typing import IO

import msgspec

from skygrid.worker.machine.process_group import end_session
from skygrid.worker.wire.frames import HEADER, FrameError, encode, take_frames
from skygrid.worker.wire.messages import AgentLog, Attach, Greeting

from .selector import Waiting

MOST_UNTOLD = 32 * 1024 * 1024
"""Bytes that may wait for the agent before no more are taken from the driver."""

READ_BYTES = 1 << 18
LAST_WORDS_SECONDS = 5.0
"""How long an agent whose driver is gone has to end."""


class KeptAgent:
    """An agent as the child of its keeper.

    Parameters
    ----------
    command : sequence of str
        The agent.
    waiting : Waiting
        The keeper's own.
    on_frame : callable
        Takes each frame that the agent has for its driver.
    on_print : callable
        Takes lines that the agent or its fits have printed.
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
        self._untold = bytearray()
        self._said = bytearray()
        self._printed = bytearray()
        self._greetings_due = 1
        """Nothing of the agent is passed on until so many have come: it greets by itself when it
        starts, and once more for each `Attach`."""

        # A session of its own: whatever a fit has started and left is found by it at the end.
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
        """Tell the agent that the driver is another one from here on."""
        self._untold += encode(Attach())
        self._greetings_due += 1

    def take(self, frames: Iterable[bytes]) -> None:
        """Take frames of the driver; they are told when the agent reads."""
        for frame in frames:
            self._untold += frame

    @property
    def behind(self) -> bool:
        """Whether so much waits for the agent that no more should be taken."""
        return len(self._untold) > MOST_UNTOLD

    def tell(self) -> None:
        """Write to the agent what it can take now."""
        while self._untold and self._stdin is not None:
            try:
                del self._untold[: os.write(self._stdin.fileno(), self._untold)]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self.close_input()
                return

    @property
    def told(self) -> bool:
        """Whether nothing waits for it."""
        return not self._untold

    def close_input(self) -> None:
        """No more will be told; this ends the agent."""
        self._untold.clear()
        self._close(self._stdin)
        self._stdin = None

    # -- from the agent

    def choose(self, *, frames: bool, prints: bool) -> None:
        """Wait for what the agent says, if it is wanted now, and until it can be told what waits.

        Parameters
        ----------
        frames, prints : bool
            Whether there is room for what it says, and for what it prints.
        """
        if self._stdout is not None:
            self._waiting.want(self._stdout.fileno(), self._hear, read=frames)
        if self._stderr is not None:
            self._waiting.want(self._stderr.fileno(), self._hear_prints, read=prints)
        if self._stdin is not None:
            self._waiting.want(self._stdin.fileno(), self.tell, write=bool(self._untold))

    @property
    def silent(self) -> bool:
        """Whether it has said all that it ever will."""
        return self._stdout is None

    def _hear(self) -> None:
        assert self._stdout is not None
        data = _read(self._stdout)
        if data is None:
            self._close(self._stdout)
            self._stdout = None
            return
        self._said += data
        try:
            # Whole messages only, so that what was printed can be put between them.
            frames = take_frames(self._said)
        except FrameError as error:
            # Nothing that follows can be understood: this is the end of what it says.
            self._on_frame(encode(AgentLog(text=f"the agent broke the protocol: {error}")))
            self._said.clear()
            self._close(self._stdout)
            self._stdout = None
            return
        for frame in frames:
            if self._greetings_due and _is_greeting(frame):
                self._greetings_due -= 1
            if not self._greetings_due:
                self._on_frame(frame)

    def _hear_prints(self) -> None:
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

    def end(self, patience: float = LAST_WORDS_SECONDS) -> None:
        """See the agent to its end, and what its fits had started.

        Parameters
        ----------
        patience : float
            Seconds that it has to end by itself.
        """
        self.close_input()
        # An agent that waits for somebody to take what it says notices this.
        self._close(self._stdout)
        self._stdout = None
        self._close(self._stderr)
        self._stderr = None
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Slots end with their agent; what their fits had started may not.
        end_session(self._process.pid)


def _read(pipe: IO[bytes]) -> bytes | None:
    """What has come; None: nothing will any more."""
    try:
        return os.read(pipe.fileno(), READ_BYTES) or None
    except BlockingIOError:
        return b""


def _is_greeting(frame: bytes) -> bool:
    try:
        _greetings.decode(memoryview(frame)[HEADER.size :])
    except (msgspec.DecodeError, ValueError):
        return False
    return True


_greetings = msgspec.msgpack.Decoder(Greeting)
