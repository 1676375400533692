"""Room for the messages of one node that wait for the engine."""

from __future__ import annotations

import threading

from skygrid.worker.limits import MAX_FRAME

MOST_MESSAGES = 4096
"""Messages that may wait; at the limit no more are read from the node."""

MOST_BYTES = 2 * MAX_FRAME
"""The same in bytes on the wire. Decoded messages take several times as much."""


class Room:
    """Room that a reading thread takes and the engine's thread gives back.

    Parameters
    ----------
    most_messages, most_bytes : int
        Limits. A message of any size fits when no other one waits.
    """

    def __init__(self, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES) -> None:
        self._most_messages, self._most_bytes = most_messages, most_bytes
        self._messages = self._bytes = 0
        self._changed = threading.Condition()

    def take(self, n_bytes: int, timeout: float) -> bool:
        """Wait until a message fits and take its room; return False after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(n_bytes), timeout):
                return False
            self._messages += 1
            self._bytes += n_bytes
            return True

    def give_back(self, n_bytes: int) -> None:
        """Give back the room of a message."""
        with self._changed:
            self._messages -= 1
            self._bytes -= n_bytes
            self._changed.notify()

    def _fits(self, n_bytes: int) -> bool:
        if not self._messages:
            return True
        return self._messages < self._most_messages and self._bytes + n_bytes <= self._most_bytes
