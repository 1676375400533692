"""The log of a node on the driver."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path
from typing import BinaryIO

from skygrid.engine.node_events import Gone
from skygrid.environment.credentials import MaskedLines, masked
from skygrid.errors import NodeError, SkygridError
from skygrid.util.terminal import printable

LOG_LIMIT_BYTES = 64 * 1024 * 1024
"""Maximum size of a node's log: fits that print must not fill the driver's disk."""

TAIL_BYTES = 2000


class NodeLog:
    """Log output of a node, kept in memory until the run's folder is known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._early = bytearray()
        self._last = b""
        self._written = 0
        self._masked = MaskedLines()

    def open(self, path: Path) -> None:
        """Write to this file from now on, after the output so far."""
        with self._lock:
            if self._file is None:
                self._file = path.open("ab", buffering=0)
                self._file.write(self._early)
                self._early.clear()

    def write(self, data: bytes) -> None:
        """Add output of the node."""
        with self._lock:
            self._last = (self._last + data)[-TAIL_BYTES:]
            self._keep(self._masked.feed(data))

    def note(self, line: str) -> None:
        """Add a line of the driver; `tail` leaves it out."""
        with self._lock:
            self._keep(f"{line}\n".encode())

    def _keep(self, data: bytes) -> None:
        if self._written + len(data) > LOG_LIMIT_BYTES:
            return
        self._written += len(data)
        if self._file is None:
            self._early += data
            return
        try:
            self._file.write(data)
        except OSError:
            # A log that cannot be written must not stop the fits; the journal reports a full disk.
            self._written = LOG_LIMIT_BYTES

    def tail(self, lines: int = 5) -> str:
        """Return the last lines of the node's output."""
        with self._lock:
            text = masked(self._last.decode(errors="replace"))
            return printable("\n".join(text.splitlines()[-lines:]))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._keep(self._masked.end())
            if self._file is not None:
                self._file.close()
                self._file = None


def unforeseen(log: NodeLog, what: str, error: Exception) -> Gone:
    """Return a `Gone` for an unexpected error in one of a node's threads; log its traceback."""
    if isinstance(error, SkygridError):
        return Gone(f"{what}: {error}", error)
    # The user sees one line.
    log.write("".join(traceback.format_exception(error)).encode())
    text = f"{what}: {type(error).__name__}: {error}"
    return Gone(text, NodeError(text))
