"""A selector that is told anew each turn what there is to wait for."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable


class Waiting:
    """Waits for what can be dealt with now, and for nothing else."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def want(
        self,
        file: int | socket.socket,
        act: Callable[[], None],
        *,
        read: bool = False,
        write: bool = False,
    ) -> None:
        """Wait for this file as said, or no longer.

        Parameters
        ----------
        file : int or socket
        act : callable
            Called when it can be read. What can be written to ends the wait, no more.
        read, write : bool, default=False
        """
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = self._selector.get_map().get(file)
        if known is None and events:
            self._selector.register(file, events, act)
        elif known is not None and not events:
            self._selector.unregister(file)
        elif known is not None and known.events != events:
            self._selector.modify(file, events, act)

    def forget(self, file: int | socket.socket) -> None:
        """Wait for this file no longer; to be called before it is closed."""
        if file in self._selector.get_map():
            self._selector.unregister(file)

    def turn(self, seconds: float) -> None:
        """Wait, so long at the most, and act on all that can be read."""
        for key, events in self._selector.select(seconds):
            if events & selectors.EVENT_READ:
                key.data()
