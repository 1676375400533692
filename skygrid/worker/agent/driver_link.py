"""The agent's link to its driver: frames in and out, and results that wait for company."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skygrid.worker.wire.frames import FrameError, FrameReader, encode
from skygrid.worker.wire.messages import FitResult, Report, ToAgent

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
        """Messages that have come.

        Raises
        ------
        DriverGone
            If none will come any more.
        FrameError
            If what came is none of a driver's messages.
        """
        try:
            data = os.read(self.source, READ_BYTES)
        except BlockingIOError:
            return  # whoever made the channel made it non-blocking
        if not data:
            raise DriverGone
        yield from self._reader.feed(data)

    def send(self, message: Any) -> None:
        """Send a message, and the results that wait before it.

        Results go first: whoever hears of a lease again has heard how its fit ended.
        """
        self._write(self._report() + encode(message))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send all that is said inside in one piece, in the end.

        What costs the driver is the number of pieces, far more than their length.
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
        """Whether something is about to be sent, together with whatever else is said now."""
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
        """Results are of this round from now on; what waits of another is of no use any more."""
        self._round = round
        self._results = []

    def collect(self, results: list[FitResult], seconds: float) -> None:
        """Let results wait for others, or for a message, that can go with them.

        Parameters
        ----------
        results : list of FitResult
        seconds : float
            How long the first of those that wait may wait.
        """
        if not self._results:
            self._report_at = self._clock() + seconds
        self._results += results

    @property
    def waiting(self) -> int:
        """How many results wait to be sent."""
        return len(self._results)

    @property
    def report_at(self) -> float | None:
        """Monotonic time by which the results that wait are to be sent; None: none wait."""
        return self._report_at if self._results else None

    def report(self) -> None:
        """Send the results that wait."""
        self._write(self._report())

    def _report(self) -> bytes:
        results, self._results = self._results, []
        return _frames_of(self._round, results) if results else b""

    # -- slots

    def close_in_child(self) -> None:
        """In a slot that was just forked: the link is the agent's alone."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self.source)
        os.close(nothing)
        os.close(self.sink)


def _frames_of(round: int, results: list[FitResult]) -> bytes:
    try:
        return encode(Report(round=round, results=results))
    except FrameError:
        # Many long tracebacks together; each by itself is far below the limit.
        half = len(results) // 2
        return _frames_of(round, results[:half]) + _frames_of(round, results[half:])
