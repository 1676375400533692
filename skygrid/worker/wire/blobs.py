"""Blobs: Python objects as bytes that are written once, identified by their hash and mapped.

A blob is a pickle of protocol 5 (PEP 574), followed by the large buffers of its arrays. Pickle and
buffers start at multiples of 64 bytes, so that a mapped file can be the memory of the arrays:

    u64 number of buffers | u64 length of the pickle | u64 length of each buffer | pickle | buffers

All integers are little-endian. C- and Fortran-ordered arrays keep their order, which decides the
order of sums and with it the last bits of a score. Other arrays become C-ordered; rows that NumPy
picks out of them are C-ordered in any case.

Blobs travel from the driver to nodes only, because opening one runs code.
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
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import IO, Any

from skygrid.worker.limits import CHUNK_BYTES
from skygrid.worker.user_code.pickling import NodePickler
from skygrid.worker.user_code.unpickling import node_unpickled

from .packing import PackedChunks, Piece

ALIGNMENT = 64
WRITE_BYTES = 64 * 1024 * 1024
SHARED_MEMORY = "/dev/shm"  # holds files without a name only
ROOM_FACTOR = 1.25
"""Free shared memory, as a multiple of the blob's size, below which the disk is used."""

_U64 = struct.Struct("<Q")

_mappings: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
"""Mappings of this process that objects still use."""


class BlobError(Exception):
    """A blob is damaged or out of order, or does not fit on the node."""


class Blob:
    """An object as bytes, with its digest and size.

    The buffers of arrays are not copied: the object must not change while the blob is in use.

    Parameters
    ----------
    value : object
        Any object that cloudpickle can pickle.
    pickler : callable, optional
        Makes the pickler, with the arguments of `pickle.Pickler`.
    """

    def __init__(self, value: Any, pickler: Callable[..., NodePickler] = NodePickler) -> None:
        buffers: list[pickle.PickleBuffer] = []
        stream = io.BytesIO()
        pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
        raw = [buffer.raw() for buffer in buffers]
        self._parts = list(_layout(memoryview(stream.getvalue()), raw))
        self.size = sum(len(part) for part in self._parts)
        self.token = uuid.uuid4().hex
        """Identifies the blob in this process and in processes that read its file."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal; identifies the blob everywhere."""
        digest = hashlib.sha256()
        for part in self._parts:
            digest.update(part)
        return digest.hexdigest()

    @cached_property
    def file(self) -> IO[bytes]:
        """Unnamed file with the blob's bytes, written on first use."""
        file = unnamed_file(self.size)
        for _, data in self.chunks(WRITE_BYTES):
            file.write(data)
        # Close the file with the blob: an unclosed file raises a ResourceWarning.
        weakref.finalize(self, file.close)
        return file

    @property
    def path(self) -> str:
        """Path of the file for other processes of this user on this machine; see proc(5)."""
        return f"/proc/{os.getpid()}/fd/{self.file.fileno()}"

    @cached_property
    def _packed(self) -> PackedChunks:
        return PackedChunks(list(self.chunks()))

    def pieces(self, offset: int = 0) -> Iterator[Piece]:
        """Yield the bytes to send, in order, compressed where `packing` finds it worthwhile.

        Parameters
        ----------
        offset : int, default=0
            First byte to send.
        """
        return self._packed.since(offset)

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[tuple[int, memoryview]]:
        """Yield the offset and the bytes of each chunk, in order.

        Parameters
        ----------
        size : int, default=1 MiB
            Most bytes in one chunk.
        """
        offset = 0
        for part in self._parts:
            for start in range(0, len(part), size):
                data = part[start : start + size]
                yield offset, data
                offset += len(data)


class RawBlob(Blob):
    """Bytes without a layout, which are copied: the original may change afterwards.

    Its token is its digest: blobs with the same bytes are one blob.

    Parameters
    ----------
    content : memoryview
        Contiguous bytes, at least one.
    """

    def __init__(self, content: memoryview) -> None:
        self.size = content.nbytes
        self._parts = [content]
        # Written now, and read from the file from now on.
        mapped = mmap.mmap(self.file.fileno(), self.size, access=mmap.ACCESS_READ)
        self._parts = [memoryview(mapped)]
        self.token = self.digest


def unnamed_file(size: int) -> IO[bytes]:
    """Return a new unnamed file, which disappears when the last process closes it.

    Parameters
    ----------
    size : int
        Expected bytes. The file is in shared memory if they fit, else on disk.
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
    """Load the object of a blob, its arrays backed by a private mapping of the file.

    The mapping is copy-on-write: arrays are writable, but writes reach neither the file nor other
    processes.

    Parameters
    ----------
    file : file object
        Has a file descriptor and holds the blob from offset 0.
    size : int
        Bytes in the blob.
    """
    mapped = memoryview(map_privately(file.fileno(), size))
    (count,) = _U64.unpack_from(mapped, 0)
    lengths = [_U64.unpack_from(mapped, 8 * (1 + i))[0] for i in range(count + 1)]
    position = _aligned(8 * (2 + count))
    views = []
    for length in lengths:
        views.append(mapped[position : position + length])
        position = _aligned(position + length)
    return node_unpickled(views[0], views[1:])


def map_privately(file: int, size: int) -> mmap.mmap:
    """Map a file of a round copy-on-write, so that `any_mapped` knows of it.

    Parameters
    ----------
    file : int
        File descriptor.
    size : int
        Bytes to map; 0: all.
    """
    mapped = mmap.mmap(file, size, access=mmap.ACCESS_COPY)
    _mappings.add(mapped)
    return mapped


def any_mapped() -> bool:
    """Return True if objects of this process use a mapped blob or mapped samples."""
    return len(_mappings) > 0


def _aligned(position: int) -> int:
    return position + -position % ALIGNMENT
