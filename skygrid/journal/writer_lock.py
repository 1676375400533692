"""A lock for one writing process per journal, which the kernel releases when the process ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from skygrid.errors import JournalError
from skygrid.worker.machine.locks import is_named

_held_here: set[tuple[int, int]] = set()
"""(device, inode) of the lock files that this process holds: a POSIX lock does not exclude its own
process.
"""


class WriterLock:
    """Lock of a journal, held from construction to `release`.

    A POSIX record lock: unlike ``flock``, forked children do not inherit it, so a fit that outlives
    a killed driver does not keep the run locked.

    Parameters
    ----------
    path
        Side file with the id of the process that has the lock, created if absent.
    journal
        The journal's name in messages.

    Raises
    ------
    JournalError
        A process, maybe this one, holds the lock.
    OSError
        The side file cannot be created.
    """

    def __init__(self, path: Path, journal: str) -> None:
        self._path = path.absolute()  # the program may change its folder
        self._journal = journal
        descriptor = self._open()
        while not is_named(descriptor, path):  # its last holder deleted it
            os.close(descriptor)
            descriptor = self._open()
        self._descriptor: int | None = descriptor
        self._identity = _identity(os.fstat(descriptor))
        _held_here.add(self._identity)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Release the lock and remove the side file. No effect the second time."""
        if self._descriptor is None:
            return
        # Removed while the lock is held: a waiting process notices and creates a new file.
        with suppress(OSError):  # on a read-only disk the file stays; without a lock it is harmless
            self._path.unlink(missing_ok=True)
        _held_here.discard(self._identity)
        os.close(self._descriptor)
        self._descriptor = None

    def _open(self) -> int:
        # Check first: closing any descriptor of the file would drop a lock that this process holds.
        if self._path.exists() and _identity(self._path.stat()) in _held_here:
            raise self._taken(str(os.getpid()))
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise self._taken(holder or "unknown") from None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _taken(self, process: str) -> JournalError:
        return JournalError(
            f"{self._journal} is being written by process {process}. Wait until that run ends, "
            "or stop it, and try again."
        )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
