"""Where a node keeps blobs while it works: files that vanish with the process.

The files have no name from the moment they exist, so that nothing is left behind whatever ends
the agent. Shared memory is preferred to the disk when it has room.
"""

from __future__ import annotations

import hashlib
import os
from typing import IO, Any

from .blobs import open_blob, unnamed_file
from .messages import BlobAt, BlobChunk


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
            self._partial[chunk.digest] = (unnamed_file(chunk.size), hashlib.sha256())
        if chunk.digest not in self._partial:
            raise BlobError(f"blob {chunk.digest[:12]} does not begin at offset 0")
        file, digest = self._partial[chunk.digest]
        if file.tell() != chunk.offset:
            raise BlobError(f"blob {chunk.digest[:12]}: expected offset {file.tell()}")
        try:
            written = file.write(chunk.data)
        except OSError as error:
            raise BlobError(f"no room for a blob of {chunk.size} bytes: {error}") from error
        if written != len(chunk.data):
            # What fitted was written; the next write would say so.
            raise BlobError(f"no room for a blob of {chunk.size} bytes")
        digest.update(chunk.data)
        if file.tell() >= chunk.size:
            self._finish(chunk, file, digest.hexdigest())

    def adopt(self, place: BlobAt) -> None:
        """Use a blob that is a file on this machine already.

        Raises
        ------
        BlobError
            If the file cannot be opened, or is not as long as was said.
        """
        try:
            file = open(place.path, "rb")  # noqa: SIM115  # kept open as long as the blob is used
        except OSError as error:
            raise BlobError(f"cannot open the blob at {place.path}: {error}") from error
        if os.fstat(file.fileno()).st_size != place.size:
            raise BlobError(f"the blob at {place.path} is not {place.size} bytes long")
        self._files[place.name] = (file, place.size)

    def _finish(self, chunk: BlobChunk, file: IO[bytes], digest: str) -> None:
        del self._partial[chunk.digest]
        if digest != chunk.digest:
            raise BlobError(f"blob {chunk.digest[:12]} arrived broken")
        file.flush()
        self._files[chunk.digest] = (file, chunk.size)

    @property
    def complete(self) -> tuple[str, ...]:
        """Names of the blobs that are here as a whole."""
        return tuple(self._files)

    def drop_partial(self) -> None:
        """Forget what has arrived of blobs that are not complete."""
        for file, _ in self._partial.values():
            file.close()
        self._partial.clear()

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
