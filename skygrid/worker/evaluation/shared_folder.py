"""A folder in which the slots of one node keep what they share during a round.

Its files are named ``SPLIT-KIND-NAME``; what ends in ``.lock`` holds nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")  # each folder in it is made by mkdtemp, for its user alone
ROOM_BYTES = 512 * 1024 * 1024
"""What must be free in memory-backed storage; where less is, files on disk do as well."""

STEPS = "step"
"""Kind of the files that hold first steps of pipelines, see `prefixes`."""

SAMPLES = "samples"
"""Kind of the files that hold samples, see `shared_samples`."""

REMOVE = 'cat >/dev/null; for try in 1 2 3 4 5; do rm -rf -- "$0" && exit; sleep 1; done'
"""Waits until its input ends, which it does with the agent, however that ends. A slot that has not
ended yet may write into the folder while it is removed."""


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

    def close_in_child(self) -> None:
        """In a slot that was just forked, and may outlive the folder: do not hold it."""
        assert self._remover.stdin is not None
        self._remover.stdin.close()

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        self._remover.communicate()


def shared_folder() -> SharedFolder | None:
    """A new folder, None where none can be made: slots then share nothing."""
    try:
        return SharedFolder()
    except OSError:
        return None


def is_memory(folder: Path) -> bool:
    """Whether what lies in a folder made here lies in memory, rather than on a disk."""
    return MEMORY in folder.parents


def files_of(folder: Path, kind: str = "") -> list[os.DirEntry[str]]:
    """The files that slots keep there, of one kind or of all.

    Parameters
    ----------
    folder : Path
    kind : str, optional
        The second part of their names.
    """
    try:
        with os.scandir(folder) as entries:
            return [
                entry
                for entry in entries
                if not entry.name.endswith(".lock") and kind in ("", *entry.name.split("-")[1:2])
            ]
    except FileNotFoundError:  # who tidies up temporary files took the folder away
        return []


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock of this name; the kernel frees that of a slot that dies."""
    with open(path, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # A child that was forked meanwhile has the file as well: closing it is not enough.
            fcntl.flock(lock, fcntl.LOCK_UN)


def forget_split(folder: Path, split: int) -> None:
    """Give back the memory of a split's files; who has mapped one keeps it."""
    for entry in files_of(folder):
        if entry.name.startswith(f"{split}-"):
            Path(entry.path).unlink(missing_ok=True)


def _place() -> Path:
    try:
        room = os.statvfs(MEMORY)
        if os.access(MEMORY, os.W_OK) and room.f_bavail * room.f_frsize >= ROOM_BYTES:
            return MEMORY
    except OSError:
        pass  # there is no such thing on this system
    return Path(tempfile.gettempdir())
