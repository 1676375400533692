"""Data that a node keeps for later runs: blobs in a folder, found by their digest.

``DIGEST.blob`` is a whole blob. ``DIGEST.part`` (and ``DIGEST.1.part`` and so on, when several
agents receive the same blob at the same time) is what has come of one; the next transfer goes on
where it ends.

Agents that share the folder keep out of each other's way by locks on the files (`flock`, which end
with the process whatever ends it): whoever uses a blob shares its lock, whoever writes a part has
its lock alone, and whoever removes something has to have its lock alone first. Nobody ever waits
for a lock. A file may lose its name between being opened and being locked, so its name is looked
up again afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from skygrid.worker.wire.blobs import BlobError

CHECK_BYTES = 8 * 1024 * 1024
"""Hashed at a time: the agent has to answer in between."""

SYNC_BYTES = 32 * 1024 * 1024
"""Written at the most before the disk is waited for: at the end, all at once would take long."""

SPARE_BYTES = 64 * 1024 * 1024
"""Disk to leave free beside a blob, at the least."""

UNUSED_SECONDS = 30 * 24 * 3600.0
"""What nobody has used for so long is removed."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"([0-9a-f]{64})(?:\.blob|(?:\.\d+)?\.part)")


@dataclass
class Part:
    """What has come of a blob so far."""

    file: IO[bytes]
    path: Path | None = None
    """None: the file has no name, and is of use to this process only."""

    position: int = 0
    hash: Any = field(default_factory=hashlib.sha256)
    """Of all bytes up to the position."""

    offered: bool = False
    """The driver waits to hear when all has come."""

    resumed: bool = False
    """Some of it is from an earlier transfer."""

    synced: int = 0
    """So much of it has reached the disk."""

    def write(self, data: bytes) -> None:
        """Take in the next bytes. Raises OSError when there is no room for them."""
        if self.file.write(data) != len(data):
            raise OSError("the disk is full")
        self.hash.update(data)
        self.position += len(data)
        if self.path is not None and self.position - self.synced > SYNC_BYTES:
            self.synced = self.position
            os.fdatasync(self.file.fileno())

    def discard(self) -> None:
        """Remove it: it is of no use."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.file.close()


@dataclass(frozen=True)
class _Entry:
    path: Path
    digest: str
    size: int
    used: float

    @property
    def is_part(self) -> bool:
        return self.path.suffix == ".part"


class BlobCache:
    """A folder of blobs.

    Parameters
    ----------
    folder : Path
        Made when it is first needed.
    max_bytes : float
        What the blobs in it may take together; those that are in use stay, even if it is more.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self, folder: Path, max_bytes: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock

    # -- whole blobs

    def find(self, digest: str, size: int) -> Generator[None, None, IO[bytes] | None]:
        """Look for a blob, and look at every byte of it; yields now and then.

        What does not have the digest that it is named after is removed.

        Returns
        -------
        file : file object or None
            Locked against removal until it is closed.
        """
        _check_digest(digest)
        path = self._folder / f"{digest}.blob"
        try:
            file = _open_locked(path, os.O_RDONLY, fcntl.LOCK_SH)
        except OSError:
            file = None
        if file is None:
            return None
        try:
            if os.fstat(file.fileno()).st_size == size:
                found = yield from _hashed(file)
                if found.hexdigest() == digest:
                    self._touch(file)
                    return file
        except OSError:
            pass  # it cannot be read any more
        except BaseException:
            file.close()
            raise
        # Its own lock would be in the way.
        file.close()
        _remove(path)
        return None

    # -- blobs that arrive

    def begin(self, digest: str, size: int) -> Generator[None, None, Part]:
        """Get ready to receive a blob, and look at what is here of it; yields now and then.

        Raises
        ------
        BlobError
            If there is not disk enough, or the folder cannot be used.
        """
        _check_digest(digest)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path, file = self._open_part(digest)
        except OSError as error:
            raise BlobError(f"cannot keep data in {self._told}: {error}") from error
        try:
            part = Part(file, path)
            if os.fstat(file.fileno()).st_size <= size:
                part.hash = yield from _hashed(file)
                part.position = file.tell()
            if part.position == size and part.hash.hexdigest() != digest:
                part.position = 0
            if not part.position:
                part.hash = hashlib.sha256()
                file.truncate(0)
                file.seek(0)
            part.resumed = part.position > 0
            part.synced = part.position
            self._make_room(path, size, size - part.position)
        except BaseException:
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)
            file.close()
            raise
        return part

    def finish(self, part: Part, digest: str) -> IO[bytes]:
        """Keep a part that has turned out to be the whole blob; returns its file, as `find` does.

        Raises
        ------
        OSError
            If it does not reach the disk.
        """
        assert part.path is not None
        os.fsync(part.file.fileno())
        os.replace(part.path, self._folder / f"{digest}.blob")
        _sync_folder(self._folder)
        self._touch(part.file)
        # Somebody may remove the file's name just here; the file is whole all the same.
        _lock(part.file, fcntl.LOCK_SH)
        self.tidy()
        return part.file

    def _open_part(self, digest: str) -> tuple[Path, IO[bytes]]:
        """A part to write to: the longest one that nobody writes to, or else a new one."""
        known = [entry for entry in self._entries() if entry.digest == digest and entry.is_part]
        known.sort(key=lambda entry: -entry.size)
        names = [f"{digest}.part", *(f"{digest}.{number}.part" for number in range(1, 100))]
        for path in [*(entry.path for entry in known), *(self._folder / name for name in names)]:
            file = _open_locked(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
            if file is not None:
                return path, file
        raise OSError(f"every part of {digest[:12]} is in use")

    # -- clearing

    def tidy(self) -> None:
        """Remove what nobody has used for long, and the least recently used of what is too much."""
        with contextlib.suppress(OSError):
            entries = self._entries()
            whole = {entry.digest for entry in entries if not entry.is_part}
            total = sum(entry.size for entry in entries)
            now = self._clock()
            for entry in entries:
                old = now - entry.used > UNUSED_SECONDS
                spare = entry.is_part and entry.digest in whole
                if (old or spare or total > self._max_bytes) and _remove(entry.path):
                    total -= entry.size

    def _make_room(self, part: Path, size: int, missing: int) -> None:
        needed = missing + SPARE_BYTES
        if _free(self._folder) >= needed:
            return
        unused = [e for e in self._entries() if e.path != part and _is_unused(e.path)]
        # What would not be enough is not worth removing.
        if _free(self._folder) + sum(entry.size for entry in unused) >= needed:
            for entry in unused:
                if _free(self._folder) < needed:
                    _remove(entry.path)
        free = _free(self._folder)
        if free < needed:
            rest = "" if missing == size else f", of which {size_text(missing)} are not there yet"
            raise BlobError(
                f"host {platform.node()} has {size_text(free)} of disk left under {self._told} "
                f"and the data takes {size_text(size)}{rest} ({size_text(SPARE_BYTES)} are to stay "
                f"free): free some, or set folder under [ssh] to a larger disk"
            )

    def _entries(self) -> list[_Entry]:
        """What is in the folder and ours, the least recently used first."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as files:
            for file in files:
                name = _NAME.fullmatch(file.name)
                with contextlib.suppress(FileNotFoundError):  # another agent was faster
                    if name and file.is_file(follow_symlinks=False):
                        status = file.stat(follow_symlinks=False)
                        path = self._folder / file.name
                        found.append(_Entry(path, name[1], status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: entry.used)

    def _touch(self, file: IO[bytes]) -> None:
        now = self._clock()
        with contextlib.suppress(OSError):
            os.utime(file.fileno(), (now, now))

    @property
    def _told(self) -> str:
        """The folder, for a person."""
        path, home = self._folder.absolute(), Path.home()
        return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def size_text(size: int) -> str:
    """A size for a person, in GiB or MiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise BlobError(f"{digest[:64]!r} is no digest")


def _hashed(file: IO[bytes]) -> Generator[None, None, Any]:
    """Hash a file from its beginning to its end."""
    so_far = hashlib.sha256()
    file.seek(0)
    while data := file.read(CHECK_BYTES):
        so_far.update(data)
        yield
    return so_far


def _open_locked(path: Path, flags: int, lock: int) -> IO[bytes] | None:
    """Open a file and lock it; None when there is none, or when its lock is not to be had."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    file = os.fdopen(descriptor, "rb" if flags == os.O_RDONLY else "r+b", buffering=0)
    if _lock(file, lock) and _is_named(file, path):
        return file
    file.close()
    return None


def _lock(file: IO[bytes], lock: int) -> bool:
    try:
        fcntl.flock(file, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether nobody uses a file; nobody can begin to before the block ends."""
    try:
        file = _open_locked(path, os.O_RDWR, fcntl.LOCK_EX)
    except OSError:
        file = None
    if file is None:
        yield False
        return
    with file:
        yield True


def _is_unused(path: Path) -> bool:
    with _claimed(path) as ours:
        return ours


def _remove(path: Path) -> bool:
    with _claimed(path) as ours:
        if ours:
            path.unlink(missing_ok=True)
        return ours


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free(folder: Path) -> int:
    usage = os.statvfs(folder)
    return usage.f_bavail * usage.f_frsize
