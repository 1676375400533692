"""Notices that the machine is about to be taken away, from a process that watches for them."""

from __future__ import annotations

import os

from skygrid.worker.wire.frames import FrameError, FrameReader
from skygrid.worker.wire.messages.from_agent import Leaving

READ_BYTES = 1 << 16


class Notices:
    """The agent's end of the pipe of notices.

    Parameters
    ----------
    source : int
        File descriptor, which is made non-blocking.
    """

    def __init__(self, source: int) -> None:
        self.source = source
        os.set_blocking(source, False)
        self._reader = FrameReader(Leaving)
        self.over = ""
        """Reason why no notice can come any more; empty while one can."""

    def read(self) -> Leaving | None:
        """Return the first notice that has arrived; None if none has."""
        try:
            data = os.read(self.source, READ_BYTES)
            if not data:
                self.over = "the process that watches it has ended"
            return next(self._reader.feed(data), None)
        except BlockingIOError:  # no notice yet
            return None
        except FrameError as error:
            self.over = str(error)
            return None

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.source)
