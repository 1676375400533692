"""A folder for files that the slots of one node share during a round.

Its files are named ``SPLIT-KIND-NAME``; files that end in ``.lock`` are empty.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")  # every folder in it is made by mkdtemp, for its user alone
ROOM_BYTES = 512 * 1024 * 1024
"""Least free bytes for use of memory-backed storage; below, files on disk are fast enough."""

PREFIX = "skygrid-shared-"
OWNER = "owner.lock"

STEPS = "step"
"""Kind of files that hold first steps of pipelines, see `sharing.prefix_store`."""

SAMPLES = "samples"
"""Kind of files that hold samples, see `shared_samples`."""

REMOVE = 'cat >/dev/null; for try in 1 2 3 4 5; do rm -rf -- "$0" && exit; sleep 1; done'
"""Command that waits for the end of its input, which comes with the end of the agent. Slots that
still run may write into the folder during removal, hence the repetition."""


class SharedFolder:
    """A private folder that disappears after `remove` or with the agent.

    A process of its own removes it, because a killed agent cannot. If that is killed too, the next
    agent removes it: as long as the agent lives, it holds the lock of the file `OWNER`.
    """

    def __init__(self) -> None:
        place = _place()
        remove_abandoned(place)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        self._owner = (self.path / OWNER).open("wb")
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        self._remover = subprocess.Popen(
            ["/bin/sh", "-c", REMOVE, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close_in_child(self) -> None:
        """Release the folder in a newly forked slot, which may outlive it."""
        assert self._remover.stdin is not None
        self._remover.stdin.close()
        self._owner.close()

    def remove(self) -> None:
        self._remover.communicate()
        if self._remover.returncode:  # it was killed
            shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()


def remove_abandoned(place: Path) -> None:
    """Remove folders of this user whose agent and remover were killed."""
    for folder in place.glob(f"{PREFIX}*"):
        try:
            with (folder / OWNER).open("r+b") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # its agent lives, it is being made, or it belongs to another user


def shared_folder() -> SharedFolder | None:
    """Return a new folder, or None if none can be made; slots then share nothing."""
    try:
        return SharedFolder()
    except OSError:  # the disk is full, or there is no folder for temporary files
        return None


def is_memory(folder: Path) -> bool:
    """Return True if a `SharedFolder` is in memory rather than on disk."""
    return MEMORY in folder.parents


def files_of(folder: Path, kind: str = "") -> list[os.DirEntry[str]]:
    """Return the files of slots in a folder, of one kind or of all.

    Parameters
    ----------
    folder : Path
    kind : str, optional
        Second part of the file names.
    """
    try:
        with os.scandir(folder) as entries:
            return [
                entry
                for entry in entries
                if not entry.name.endswith(".lock") and kind in ("", *entry.name.split("-")[1:2])
            ]
    except FileNotFoundError:  # a cleaner of temporary files removed the folder
        return []


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock at a path; the kernel releases it when the slot dies."""
    with open(path, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing is not enough: a child forked meanwhile has the file open too.
            fcntl.flock(lock, fcntl.LOCK_UN)


def forget_split(folder: Path, split: int) -> None:
    """Delete a split's files; existing mappings remain valid."""
    for entry in files_of(folder):
        if entry.name.startswith(f"{split}-"):
            Path(entry.path).unlink(missing_ok=True)


def _place() -> Path:
    try:
        room = os.statvfs(MEMORY)
        if os.access(MEMORY, os.W_OK) and room.f_bavail * room.f_frsize >= ROOM_BYTES:
            return MEMORY
    except OSError:
        pass  # no /dev/shm on this system
    return Path(tempfile.gettempdir())
