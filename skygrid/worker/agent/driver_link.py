"""The agent's link to its driver: frames in both directions, and results that are collected."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from skygrid.worker.wire.frames import FrameError, FrameReader, encode
from skygrid.worker.wire.messages.fields import MOST_IN_HAND
from skygrid.worker.wire.messages.results import FitResult, Report
from skygrid.worker.wire.messages.to_agent import ToAgent

READ_BYTES = 1 << 20


class DriverGone(Exception):
    """The driver has closed the link."""


class DriverLink:
    """Reads the driver's messages and writes the agent's.

    Parameters
    ----------
    source, sink : int
        File descriptors: from the driver, to the driver.
    clock : callable, optional
        Returns the monotonic time.
    """

    def __init__(self, source: int, sink: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.source, self.sink = source, sink
        self._reader = FrameReader(ToAgent)
        self._results: list[FitResult] = []
        self._round = -1
        self._report_at = 0.0
        self._held: list[bytes] | None = None

    def read(self) -> Iterator[Any]:
        """Yield the messages that have arrived.

        Raises
        ------
        DriverGone
            If the driver has closed the link.
        FrameError
            If the bytes are no message of a driver.
        """
        try:
            data = os.read(self.source, READ_BYTES)
        except BlockingIOError:
            return  # the channel was made non-blocking by its creator
        if not data:
            raise DriverGone
        yield from self._reader.feed(data)

    def send(self, message: Any) -> None:
        """Send the waiting results, then a message.

        Results go first: the message may mention a lease that they complete.
        """
        self._write(self._report() + encode(message))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Collect all messages of the block and send them with one write at its end.

        The cost for the driver depends on the number of reads, hardly on their length.
        """
        held: list[bytes] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            if held:
                self._write(b"".join(held))

    @property
    def speaking(self) -> bool:
        """True inside `together` if a message waits for the common write."""
        return bool(self._held)

    def _write(self, frame: bytes) -> None:
        if self._held is not None:
            self._held.append(frame)
            return
        data = memoryview(frame)
        while data:
            try:
                data = data[os.write(self.sink, data) :]
            except BlockingIOError:
                select.select([], [self.sink], [])

    # -- results

    def begin(self, round: int) -> None:
        """Begin a round; drop waiting results of the previous one."""
        self._round = round
        self._results = []

    def collect(self, results: list[FitResult], seconds: float) -> None:
        """Let results wait, to be sent with others or with a message.

        Parameters
        ----------
        results : list of FitResult
        seconds : float
            Longest wait of the first waiting result.
        """
        if not self._results:
            self._report_at = self._clock() + seconds
        self._results += results

    @property
    def waiting(self) -> int:
        """Number of results that wait to be sent."""
        return len(self._results)

    @property
    def report_at(self) -> float | None:
        """Monotonic time at which the waiting results are due; None: none wait."""
        return self._report_at if self._results else None

    def report(self) -> None:
        """Send the waiting results."""
        self._write(self._report())

    def _report(self) -> bytes:
        results, self._results = self._results, []
        return _frames_of(self._round, results) if results else b""

    # -- slots

    def close_in_child(self) -> None:
        """Close the link in a slot that was just forked."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self.source)
        os.close(nothing)
        os.close(self.sink)


def _frames_of(round: int, results: list[FitResult]) -> bytes:
    # Many long tracebacks exceed the limit of a frame together; a single one never does.
    with suppress(FrameError):
        if len(results) <= MOST_IN_HAND:
            return encode(Report(round=round, results=results))
    half = len(results) // 2
    return _frames_of(round, results[:half]) + _frames_of(round, results[half:])
