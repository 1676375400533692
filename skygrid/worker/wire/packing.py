"""Chunks of blobs, compressed where that makes them smaller.

Every chunk is compressed by itself, so that a transfer can begin at any of them, and so that
whoever unpacks one knows how large it may become before it is.
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

CHUNK_BYTES = 1024 * 1024
LEVEL = 1
"""zlib's fastest: networks between a driver and its nodes are often as fast as the next one."""

WORTH = 0.95
"""A chunk travels packed when that makes it at least 5 % smaller."""

SMALL = 512
"""Chunks of fewer bytes travel as they are."""

SAMPLES, SAMPLE_BYTES = 4, 16 * 1024
"""A large chunk is packed as a whole when these parts of it become small enough: measured numbers
do not, and trying takes longer than sending them."""

Piece = tuple[int, memoryview | bytes, bool]
"""Offset within the blob, the bytes to send, whether they are packed."""


class PackedChunks:
    """The chunks of a blob, each compressed once however many nodes want it.

    What was compressed is kept in a file without a name, and not in memory, where it would be a
    second copy of the data. May be used from several threads at a time.

    Parameters
    ----------
    chunks : sequence of (int, memoryview)
        Offset and bytes of each, in order; they are not copied.
    """

    def __init__(self, chunks: Sequence[tuple[int, memoryview]]) -> None:
        self._chunks = chunks
        self._places: dict[int, tuple[int, int] | None] = {}
        """Where in the file a chunk lies, and how long it is there; None: it is not packed."""

        self._end = 0
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def since(self, offset: int) -> Iterator[Piece]:
        """What is to be sent to a node that has the first `offset` bytes."""
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
                # With the chunks: a file that is merely forgotten warns about it.
                weakref.finalize(self, self._file.close)
            written = os.pwrite(self._file.fileno(), packed, self._end)
        except OSError:
            return  # no room for it: the next node's is compressed again
        if written == len(packed):
            self._places[index] = (self._end, written)
            self._end += written


def pack(data: memoryview | bytes) -> bytes | None:
    """The chunk compressed, None where that is not worth it."""
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
    """The chunk as it was.

    Raises
    ------
    ValueError
        If it is not a chunk that `pack` has made: broken, cut off, or larger than a chunk.
    """
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, CHUNK_BYTES)
    except zlib.error as error:
        raise ValueError(f"a packed chunk is broken: {error}") from error
    # At its full length zlib may not have looked at the end yet; nothing more may come of it.
    if not unpacker.eof:
        try:
            more = unpacker.decompress(unpacker.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(f"a packed chunk is broken: {error}") from error
        if more or not unpacker.eof:
            raise ValueError("a packed chunk is cut off, or larger than a chunk may be")
    if unpacker.unused_data:
        raise ValueError("there is more behind a packed chunk")
    return data
