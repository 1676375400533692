"""A selector whose files are registered anew in each turn of a loop."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable


class Waiting:
    """Selector that waits only for files that can be handled now."""

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
        """Set the events to wait for; without any, the file is no longer watched.

        Parameters
        ----------
        file : int or socket
        act : callable
            Called when the file is readable. A writable file merely ends the wait.
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
        """Stop watching a file; call this before the file is closed."""
        if file in self._selector.get_map():
            self._selector.unregister(file)

    def turn(self, seconds: float) -> None:
        """Wait up to `seconds` and call the actions of all readable files."""
        for key, events in self._selector.select(seconds):
            if events & selectors.EVENT_READ:
                key.data()
