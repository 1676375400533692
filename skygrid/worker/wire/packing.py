"""Compression of the chunks of blobs.

Each chunk is compressed separately, so that a transfer can start at any chunk and the size of an
unpacked chunk is bounded.
"""

from __future__ import annotations

import bisect
import os
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

from skygrid.worker.limits import CHUNK_BYTES

LEVEL = 1
"""zlib's fastest level: the next one compresses more slowly than many networks send."""

WORTH = 0.95
"""Chunks are sent compressed if that makes them at least 5 % smaller."""

SMALL = 512
"""Chunks of fewer bytes are not compressed."""

SAMPLES, SAMPLE_BYTES = 4, 16 * 1024
"""A large chunk is compressed only if its samples shrink enough. Measured numbers do not,
and compressing them takes longer than sending them."""

Piece = tuple[int, memoryview | bytes, bool]
"""Offset within the blob, bytes to send, and True if they are compressed."""


class PackedChunks:
    """Chunks of a blob, each compressed once for all nodes.

    Compressed chunks are kept in an unnamed file, because in memory they would be a second copy of
    the data. Safe for use from several threads.

    Parameters
    ----------
    chunks : sequence of (int, memoryview)
        Offset and bytes of each, in order; they are not copied.
    """

    def __init__(self, chunks: Sequence[tuple[int, memoryview]]) -> None:
        self._chunks = chunks
        self._places: dict[int, tuple[int, int] | None] = {}
        """Offset and length of a compressed chunk in the file; None if it is sent as it is."""

        self._end = 0
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def since(self, offset: int) -> Iterator[Piece]:
        """Yield the pieces for a node that has the first `offset` bytes."""
        first = bisect.bisect_right(self._chunks, offset, key=lambda chunk: chunk[0]) - 1
        start, data = self._chunks[first]
        if offset > start:
            rest = data[offset - start :]
            packed = pack(rest)
            if len(rest):
                yield offset, packed or rest, packed is not None
            first += 1
        for index in range(first, len(self._chunks)):
            start, data = self._chunks[index]
            packed = self._packed(index)
            yield start, packed or data, packed is not None

    def _packed(self, index: int) -> bytes | None:
        with self._lock:
            if index not in self._places:
                packed = pack(self._chunks[index][1])
                self._keep(index, packed)
                return packed
            place = self._places[index]
        if place is None:
            return None
        assert self._file is not None
        return os.pread(self._file.fileno(), place[1], place[0])

    def _keep(self, index: int, packed: bytes | None) -> None:
        if packed is None:
            self._places[index] = None
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed below
                # Close the file with this object: an unclosed file raises a ResourceWarning.
                weakref.finalize(self, self._file.close)
            written = os.pwrite(self._file.fileno(), packed, self._end)
        except OSError:
            return  # the disk is full: the chunk is compressed again for the next node
        if written == len(packed):
            self._places[index] = (self._end, written)
            self._end += written


def pack(data: memoryview | bytes) -> bytes | None:
    """Return the compressed chunk, or None if compression is not worthwhile."""
    if len(data) < SMALL:
        return None
    if len(data) >= 2 * SAMPLES * SAMPLE_BYTES:
        step = len(data) // SAMPLES
        sample = b"".join(data[start : start + SAMPLE_BYTES] for start in range(0, len(data), step))
        if len(zlib.compress(sample, LEVEL)) > WORTH * len(sample):
            return None
    packed = zlib.compress(data, LEVEL)
    return packed if len(packed) <= WORTH * len(data) else None


def unpack(packed: bytes) -> bytes:
    """Return the chunk that `pack` compressed.

    Raises
    ------
    ValueError
        If the bytes are damaged, cut off, or larger than a chunk when unpacked.
    """
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, CHUNK_BYTES)
    except zlib.error as error:
        raise ValueError(f"a packed chunk is broken: {error}") from error
    # After a full chunk of output zlib may not have read the end mark yet; no more output may
    # follow.
    if not unpacker.eof:
        try:
            more = unpacker.decompress(unpacker.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(f"a packed chunk is broken: {error}") from error
        if more or not unpacker.eof:
            raise ValueError("a packed chunk is cut off, or larger than a chunk may be")
    if unpacker.unused_data:
        raise ValueError("bytes follow a packed chunk")
    return data
