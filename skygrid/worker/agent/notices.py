"""Notices of what is about to happen to the machine, from a process that watches for them."""

from __future__ import annotations

import os

from skygrid.worker.wire.frames import FrameError, FrameReader
from skygrid.worker.wire.messages import Leaving

READ_BYTES = 1 << 16


class Notices:
    """The agent's end of the pipe.

    Parameters
    ----------
    source : int
        File descriptor, which must not block.
    """

    def __init__(self, source: int) -> None:
        self.source = source
        os.set_blocking(source, False)
        self._reader = FrameReader(Leaving)
        self.over = ""
        """Why nothing will come any more; empty: something may."""

    def read(self) -> Leaving | None:
        """The first of the notices that have come."""
        try:
            data = os.read(self.source, READ_BYTES)
            if not data:
                self.over = "the process that watches it has ended"
            return next(self._reader.feed(data), None)
        except BlockingIOError:
            return None
        except FrameError as error:
            self.over = str(error)
            return None

    def close(self) -> None:
        """Read no more."""
        os.close(self.source)
