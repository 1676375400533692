"""Where a node keeps blobs while it works: files that vanish with the process.

The files have no name from the moment they exist, so that nothing is left behind whatever ends
the agent. Shared memory is preferred to the disk when it has room.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from typing import IO, Any

from .blobs import open_blob
from .messages import BlobChunk

SHARED_MEMORY = "/dev/shm"  # noqa: S108  # unnamed files only
ROOM_FACTOR = 1.25
"""Free bytes in shared memory, as a multiple of the blob, below which the disk is used."""


class BlobError(Exception):
    """A blob arrived broken or out of order, or there is no room for it."""


class BlobStore:
    """Receives blobs chunk by chunk and opens them by digest."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[IO[bytes], int]] = {}
        self._partial: dict[str, tuple[IO[bytes], Any]] = {}

    def receive(self, chunk: BlobChunk) -> None:
        """Take in one chunk.

        Raises
        ------
        BlobError
            If the chunk is not the next one, the digest does not fit, or the disk is full.
        """
        if chunk.offset == 0:
            self._partial[chunk.digest] = (_unnamed_file(chunk.size), hashlib.sha256())
        if chunk.digest not in self._partial:
            raise BlobError(f"blob {chunk.digest[:12]} does not begin at offset 0")
        file, digest = self._partial[chunk.digest]
        if file.tell() != chunk.offset:
            raise BlobError(f"blob {chunk.digest[:12]}: expected offset {file.tell()}")
        try:
            file.write(chunk.data)
        except OSError as error:
            raise BlobError(f"no room for a blob of {chunk.size} bytes: {error}") from error
        digest.update(chunk.data)
        if file.tell() >= chunk.size:
            self._finish(chunk, file, digest.hexdigest())

    def _finish(self, chunk: BlobChunk, file: IO[bytes], digest: str) -> None:
        del self._partial[chunk.digest]
        if digest != chunk.digest:
            raise BlobError(f"blob {chunk.digest[:12]} arrived broken")
        file.flush()
        self._files[chunk.digest] = (file, chunk.size)

    def file(self, digest: str) -> tuple[IO[bytes], int]:
        """The file of a complete blob and its size in bytes.

        Raises
        ------
        BlobError
            If no such blob has arrived.
        """
        if digest not in self._files:
            raise BlobError(f"blob {digest[:12]} has not arrived")
        return self._files[digest]

    def open(self, digest: str) -> Any:
        """The object in a complete blob."""
        file, size = self.file(digest)
        return open_blob(file, size)

    def keep_only(self, digests: set[str]) -> None:
        """Drop every complete blob that is not among `digests`."""
        for digest in set(self._files) - digests:
            self._files.pop(digest)[0].close()


def _unnamed_file(size: int) -> IO[bytes]:
    folder = SHARED_MEMORY if _room(SHARED_MEMORY) > size * ROOM_FACTOR else None
    return tempfile.TemporaryFile(dir=folder, buffering=0)


def _room(folder: str) -> int:
    if not os.access(folder, os.W_OK):
        return 0
    usage = os.statvfs(folder)
    return usage.f_bavail * usage.f_frsize
