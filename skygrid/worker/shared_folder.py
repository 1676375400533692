"""A folder in which the slots of one node keep what they share during a round."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # each folder in it is made by mkdtemp, for its user alone
ROOM_BYTES = 512 * 1024 * 1024
"""What must be free in memory-backed storage; where less is, files on disk do as well."""

REMOVE = 'cat >/dev/null; rm -rf -- "$0"'
"""Waits until its input ends, which it does with the agent and its slots, however they end."""


class SharedFolder:
    """A folder of this user's own, which is gone after `remove` or after the end of the agent.

    A process of its own sees to that, as an agent that is killed removes nothing.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="skygrid-shared-", dir=_place()))
        self._remover = subprocess.Popen(
            ["/bin/sh", "-c", REMOVE, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        self._remover.communicate()


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
