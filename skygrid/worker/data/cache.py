"""Cache of a node: blobs that are kept in a folder for later runs, by digest.

``DIGEST.blob`` is a complete blob. ``DIGEST.part`` holds the bytes received so far; the next
transfer continues after them. If several agents receive the same blob at a time, the others use
``DIGEST.1.part`` and so on.

Agents that share the folder use file locks (`flock`), which the kernel releases when a process
ends. Users of a blob share its lock; writing a part and removing a file need an exclusive lock. No
agent ever waits for a lock. A file may be removed between its opening and its locking, so its path
is checked afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import stat
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from skygrid.worker.limits import UNUSED_SECONDS
from skygrid.worker.machine.locks import is_named, try_lock
from skygrid.worker.wire.blobs import BlobError

CHECK_BYTES = 8 * 1024 * 1024
"""Bytes hashed at a time; the agent answers messages in between."""

SYNC_BYTES = 32 * 1024 * 1024
"""Most bytes written before a sync: one sync at the end would block for long."""

SPARE_BYTES = 64 * 1024 * 1024
"""Least free disk beside a blob, in bytes."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"([0-9a-f]{64})(?:\.blob|(?:\.\d+)?\.part)")


@dataclass
class Part:
    """Bytes of a blob received so far."""

    file: IO[bytes]
    path: Path | None = None
    """None: the file has no name and is not kept."""

    position: int = 0
    hash: Any = field(default_factory=hashlib.sha256)
    """SHA-256 of all bytes up to the position."""

    offered: bool = False
    """True if the driver waits for `BlobWanted` when the blob is complete."""

    resumed: bool = False
    """True if some bytes come from an earlier transfer."""

    synced: int = 0
    """Bytes that have reached the disk."""

    def write(self, data: bytes) -> None:
        """Append bytes. Raises OSError if the disk is full."""
        if self.file.write(data) != len(data):
            raise OSError("the disk is full")
        self.hash.update(data)
        self.position += len(data)
        if self.path is not None and self.position - self.synced > SYNC_BYTES:
            self.synced = self.position
            os.fdatasync(self.file.fileno())

    def discard(self) -> None:
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
        Created on first use.
    max_bytes : float
        Most bytes of all blobs; blobs in use stay even beyond it.
    clock : callable
        Returns seconds since the epoch.
    """

    def __init__(
        self, folder: Path, max_bytes: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock

    # -- whole blobs

    def find(self, digest: str, size: int) -> Generator[None, None, IO[bytes] | None]:
        """Find a blob and verify its digest; yields between portions.

        A file whose content does not match its name is removed.

        Returns
        -------
        file : file object or None
            Locked against removal until it is closed.
        """
        _check_digest(digest)
        path = self._folder / f"{digest}.blob"
        file = _open_if_usable(path, os.O_RDONLY, fcntl.LOCK_SH)
        if file is None:
            return None
        try:
            if os.fstat(file.fileno()).st_size == size:
                found = yield from _hashed(file)
                if found.hexdigest() == digest:
                    self._touch(file)
                    return file
        except OSError:
            pass  # unreadable: removed below
        except BaseException:
            file.close()
            raise
        # Release this process's own lock, which would prevent the removal.
        file.close()
        _remove(path)
        return None

    # -- blobs that arrive

    def begin(self, digest: str, size: int) -> Generator[None, None, Part]:
        """Prepare to receive a blob and hash the bytes that are here; yields between portions.

        Raises
        ------
        BlobError
            If the disk is too full, or the folder cannot be used.
        """
        _check_digest(digest)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path, file = self._open_part(digest)
        except OSError as error:
            raise BlobError(f"cannot keep data in {self._shown}: {error}") from error
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
        """Keep a part that is the whole blob; return its file, as `find` does.

        Raises
        ------
        OSError
            If it cannot be written to the disk.
        """
        assert part.path is not None
        os.fsync(part.file.fileno())
        os.replace(part.path, self._folder / f"{digest}.blob")
        _sync_folder(self._folder)
        self._touch(part.file)
        # Another agent may remove the file's name before this lock; the open file stays complete.
        try_lock(part.file.fileno(), fcntl.LOCK_SH)
        self.tidy()
        return part.file

    def _open_part(self, digest: str) -> tuple[Path, IO[bytes]]:
        """Return a part to write to: the longest one that is not in use, or a new one."""
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
        """Remove long unused files, and the least recently used beyond `max_bytes`."""
        with contextlib.suppress(OSError):  # a folder that cannot be cleared is left as it is
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
        # Remove nothing if removing all unused files would not suffice.
        if _free(self._folder) + sum(entry.size for entry in unused) >= needed:
            for entry in unused:
                if _free(self._folder) < needed:
                    _remove(entry.path)
        free = _free(self._folder)
        if free < needed:
            rest = "" if missing == size else f", of which {size_text(missing)} are missing"
            raise BlobError(
                f"host {platform.node()} has {size_text(free)} of disk left under {self._shown} "
                f"and the data takes {size_text(size)}{rest} ({size_text(SPARE_BYTES)} must stay "
                f"free): free some disk, or set folder under [ssh] to a larger disk"
            )

    def _entries(self) -> list[_Entry]:
        """Return the blobs and parts in the folder, the least recently used first."""
        found = []
        for path in self._folder.glob("*"):  # empty if there is no folder yet
            name = _NAME.fullmatch(path.name)
            with contextlib.suppress(FileNotFoundError):  # another agent removed the file
                status = path.lstat()
                if name and stat.S_ISREG(status.st_mode):
                    found.append(_Entry(path, name[1], status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: entry.used)

    def _touch(self, file: IO[bytes]) -> None:
        now = self._clock()
        with contextlib.suppress(OSError):  # the file then only looks older than it is
            os.utime(file.fileno(), (now, now))

    @property
    def _shown(self) -> str:
        """The folder's path, for people."""
        path = self._folder.absolute()
        try:
            home = Path.home()
        except RuntimeError:  # a container may give the user neither HOME nor an entry in passwd
            return str(path)
        return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def size_text(size: int) -> str:
    """Return a size in GiB or MiB, for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise BlobError(f"{digest[:64]!r} is not a digest")


def _hashed(file: IO[bytes]) -> Generator[None, None, Any]:
    """Return the hash of a whole file; yields between portions."""
    so_far = hashlib.sha256()
    file.seek(0)
    while data := file.read(CHECK_BYTES):
        so_far.update(data)
        yield
    return so_far


def _open_locked(path: Path, flags: int, lock: int) -> IO[bytes] | None:
    """Open and lock a file; None if it does not exist or is locked by another process."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:  # never kept, or removed by another agent
        return None
    file = os.fdopen(descriptor, "rb" if flags == os.O_RDONLY else "r+b", buffering=0)
    if try_lock(descriptor, lock) and is_named(descriptor, path):
        return file
    file.close()
    return None


def _open_if_usable(path: Path, flags: int, lock: int) -> IO[bytes] | None:
    """Open and lock a file; None also if it cannot be opened."""
    try:
        return _open_locked(path, flags, lock)
    except OSError:  # the cache does without a file that it may not open
        return None


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Lock a file exclusively and yield True; yield False if it is in use or missing."""
    file = _open_if_usable(path, os.O_RDWR, fcntl.LOCK_EX)
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
