"""A folder in which the slots of one node keep what they share during a round."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "skygrid-shared-"
LOCK = "lock"
MEMORY = Path("/dev/shm")  # each folder in it is made by mkdtemp, for its user alone
ROOM_BYTES = 512 * 1024 * 1024
"""What must be free in memory-backed storage; where less is, files on disk do as well."""


class SharedFolder:
    """A folder of this user's own that is removed with the round, or by a later agent.

    An agent that is killed removes nothing. Its folder is locked as long as it, or a slot of its,
    lives; whoever makes a folder removes those that nobody has locked.
    """

    def __init__(self) -> None:
        parent = _place()
        _remove_abandoned(parent)
        made = Path(tempfile.mkdtemp(prefix="skygrid-", dir=parent))
        self._lock = os.open(made / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Under this name only now: what has it and is not locked was left behind.
        self.path = made.with_name(PREFIX + made.name.removeprefix("skygrid-"))
        made.rename(self.path)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def shared_folder() -> SharedFolder | None:
    """A new folder, None where none can be made: slots then share nothing."""
    try:
        return SharedFolder()
    except OSError:
        return None


def _place() -> Path:
    try:
        room = os.statvfs(MEMORY)
        if os.access(MEMORY, os.W_OK) and room.f_bavail * room.f_frsize >= ROOM_BYTES:
            return MEMORY
    except OSError:
        pass  # there is no such thing on this system
    return Path(tempfile.gettempdir())


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR)
        except OSError:
            continue  # another agent was quicker
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its agent lives
        finally:
            os.close(lock)
