"""JSON objects and file descriptors over a Unix socket, one object on each line."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

LINE_BYTES = 1 << 16
MOST_DESCRIPTORS = 64


class Lines:
    """One end of the connection between a driver and its gateway.

    Parameters
    ----------
    end : socket.socket
        End of a stream socket pair.
    """

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.descriptors: list[int] = []
        """Descriptors that came with objects, in order."""

        self._rest = b""
        self._ready: list[Any] = []

    def send(self, message: Any, descriptor: int | None = None) -> None:
        """Send an object, and a descriptor with it.

        One system call, so that threads and signal handlers need no lock.

        Raises
        ------
        OSError
            If the other end is gone.
        """
        line = json.dumps(message).encode() + b"\n"
        socket.send_fds(self.socket, [line], [] if descriptor is None else [descriptor])

    def take(self) -> Sequence[Any] | None:
        """Wait for bytes and return the objects that are complete; None at the end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.socket, LINE_BYTES, MOST_DESCRIPTORS)
        except ConnectionResetError:  # the other end was closed with unread bytes
            return None
        self.descriptors += descriptors
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def wait(self) -> Any:
        """Wait for one object and return it; None at the end."""
        while not self._ready:
            taken = self.take()
            if taken is None:
                return None
            self._ready += taken
        return self._ready.pop(0)
