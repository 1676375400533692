"""Blobs: Python objects as bytes that are written once, found by their hash and mapped.

A blob is a pickle of protocol 5 (PEP 574) with the large buffers of its arrays beside it, each at
an offset that is a multiple of 64, so that a mapped file can serve as the memory of the arrays:

    u64 number of buffers | u64 length of the pickle | u64 length of each buffer | pickle | buffers

An array that is contiguous in neither order is written in C order, and the rows that NumPy picks
out of it are C-ordered either way; C- and Fortran-ordered arrays keep their order, which decides
the order of sums and with it the last bits of a score.

All integers are little-endian. Blobs travel from the driver to nodes only; opening one runs code.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import pickle
import struct
import tempfile
import uuid
import weakref
from collections.abc import Iterator
from functools import cached_property
from typing import IO, Any

from skygrid.worker.user_code.pickling import NodePickler

from .packing import CHUNK_BYTES, PackedChunks, Piece

ALIGNMENT = 64
WRITE_BYTES = 64 * 1024 * 1024
SHARED_MEMORY = "/dev/shm"  # unnamed files only
ROOM_FACTOR = 1.25
"""Free bytes in shared memory, as a multiple of the blob, below which the disk is used."""

_U64 = struct.Struct("<Q")


class BlobError(Exception):
    """A blob arrived broken or out of order, or there is no room for it."""


class Blob:
    """An object ready to travel: its digest, its size, its bytes in portions.

    The buffers of the object's arrays are not copied: keep the object unchanged while in use.

    Parameters
    ----------
    value : object
        Anything that cloudpickle can pickle.
    pickler : type of NodePickler, optional
        What pickles it.
    """

    def __init__(self, value: Any, pickler: type[NodePickler] = NodePickler) -> None:
        buffers: list[pickle.PickleBuffer] = []
        stream = io.BytesIO()
        pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
        raw = [buffer.raw() for buffer in buffers]
        self._parts = list(_layout(memoryview(stream.getvalue()), raw))
        self.size = sum(len(part) for part in self._parts)
        self.token = uuid.uuid4().hex
        """Names the blob within this process and those that read its file."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal: names the blob wherever it travels."""
        digest = hashlib.sha256()
        for part in self._parts:
            digest.update(part)
        return digest.hexdigest()

    @cached_property
    def file(self) -> IO[bytes]:
        """An unnamed file that holds the blob, written when it is first asked for."""
        file = unnamed_file(self.size)
        for _, data in self.chunks(WRITE_BYTES):
            file.write(data)
        # Closed with the blob: a file that is merely forgotten warns about it.
        weakref.finalize(self, file.close)
        return file

    @property
    def path(self) -> str:
        """Where other processes of this user on this machine find the file; see proc(5)."""
        return f"/proc/{os.getpid()}/fd/{self.file.fileno()}"

    @cached_property
    def _packed(self) -> PackedChunks:
        return PackedChunks(list(self.chunks()))

    def pieces(self, offset: int = 0) -> Iterator[Piece]:
        """The blob's bytes as they travel: in order, compressed where that is worth it.

        Parameters
        ----------
        offset : int, default=0
            Bytes that need not be sent.
        """
        return self._packed.since(offset)

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[tuple[int, memoryview]]:
        """The blob's bytes in order.

        Parameters
        ----------
        size : int, default=1 MiB
            Most bytes in one portion.

        Yields
        ------
        offset : int
        data : memoryview
        """
        offset = 0
        for part in self._parts:
            for start in range(0, len(part), size):
                data = part[start : start + size]
                yield offset, data
                offset += len(data)


def unnamed_file(size: int) -> IO[bytes]:
    """A new file without a name, so that it vanishes with the last process that holds it.

    Parameters
    ----------
    size : int
        Bytes that it is for: shared memory is preferred to the disk when it has room for them.
    """
    folder = SHARED_MEMORY if _room(SHARED_MEMORY) > size * ROOM_FACTOR else None
    return tempfile.TemporaryFile(dir=folder, buffering=0)


def _room(folder: str) -> int:
    if not os.access(folder, os.W_OK):
        return 0
    usage = os.statvfs(folder)
    return usage.f_bavail * usage.f_frsize


def _layout(pickled: memoryview, buffers: list[memoryview]) -> Iterator[memoryview]:
    lengths = [len(buffers), len(pickled), *(buffer.nbytes for buffer in buffers)]
    position = 0
    for part in (memoryview(b"".join(map(_U64.pack, lengths))), pickled, *buffers):
        yield part
        position += part.nbytes
        if padding := -position % ALIGNMENT:
            yield memoryview(bytes(padding))
            position += padding


def open_blob(file: io.IOBase | Any, size: int) -> Any:
    """The object in a blob, its arrays backed by a private mapping of the file.

    Private means copy-on-write: an estimator that writes into X finds it writable, and neither the
    file nor another process sees what it wrote.

    Parameters
    ----------
    file : file object
        An open file with a file descriptor, holding the blob from offset 0.
    size : int
        Bytes in the blob.

    Returns
    -------
    value : object
    """
    mapped = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))
    (count,) = _U64.unpack_from(mapped, 0)
    lengths = [_U64.unpack_from(mapped, 8 * (1 + i))[0] for i in range(count + 1)]
    position = _aligned(8 * (2 + count))
    views = []
    for length in lengths:
        views.append(mapped[position : position + length])
        position = _aligned(position + length)
    return pickle.loads(views[0], buffers=views[1:])


def _aligned(position: int) -> int:
    return position + -position % ALIGNMENT
