"""Pickling of calls for nodes: large arrays become blobs, which travel once to each node."""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import _memmapping_reducer as joblib_reducer

from skygrid.worker.evaluation.call_arrays import mapped_array, stored
from skygrid.worker.evaluation.calls import CallBatch
from skygrid.worker.user_code.pickling import NodePickler
from skygrid.worker.wire.blobs import RawBlob

COPIED_BYTES = 1 << 20
"""Bytes above which an array is a blob if the caller wants no memory maps."""

REPEATED_BYTES = 1 << 15
"""Bytes above which a smaller array is a blob once a loop sends the same content again. Below, the
blob costs more than the copy."""

MESSAGE_BYTES = 2 << 20
"""Bytes of the largest pickle of a batch within a message; a larger one is a blob."""


class BlobStore:
    """Blobs of recent calls by content. Safe for use from several threads.

    Parameters
    ----------
    limit : int
        Bytes that the blobs may take together; the newest one stays in any case.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._blobs: OrderedDict[str, RawBlob] = OrderedDict()
        self._bytes = 0

    def blob(self, content: memoryview, digest: str | None = None) -> RawBlob:
        """Return the blob with this content, which is copied if it is new.

        Parameters
        ----------
        content : memoryview
        digest : str, optional
            Its SHA-256 if that is known.
        """
        digest = digest or hashlib.sha256(content).hexdigest()
        with self._lock:
            blob = self._blobs.get(digest)
            if blob is not None:
                self._blobs.move_to_end(digest)
                return blob
            blob = RawBlob(content)
            self._blobs[blob.digest] = blob
            self._bytes += blob.size
            while self._bytes > self._limit and len(self._blobs) > 1:
                self._bytes -= self._blobs.popitem(last=False)[1].size
            return blob

    def clear(self) -> None:
        """Drop every blob that no call needs."""
        with self._lock:
            self._blobs.clear()
            self._bytes = 0


@dataclass(frozen=True, kw_only=True)
class ArrayRules:
    """Treatment of arrays in the arguments of one `joblib.Parallel`."""

    max_nbytes: int | None
    """Bytes above which an array is mapped; None: no array is."""

    read_only: bool
    """True if mapped arrays are read-only on the nodes, joblib's ``mmap_mode="r"``."""

    same_files: bool
    """True if nodes can open the files of this machine."""

    @property
    def least(self) -> int:
        """Bytes above which an array is a blob."""
        return COPIED_BYTES if self.max_nbytes is None else self.max_nbytes


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A pickled batch."""

    data: bytes
    blobs: tuple[RawBlob, ...]
    """Blobs of its arrays."""

    whole: RawBlob | None
    """Blob that no other batch needs: the pickle itself, if it is large."""


class CallPackage:
    """Pickles the batches of one `joblib.Parallel` call.

    A mapped array that is an argument of many calls is read once: as with joblib's own memory maps,
    a change after the first of these calls does not reach the nodes. Smaller arrays are read for
    each call.

    Parameters
    ----------
    store : BlobStore
    rules : ArrayRules
    """

    def __init__(self, store: BlobStore, rules: ArrayRules) -> None:
        self._store = store
        self._rules = rules
        self._known: dict[int, tuple[weakref.ref[Any], RawBlob]] = {}
        """Blob of each mapped array by its id, and the array to which the id belongs."""

        self._seen: set[str] = set()
        """Digests of smaller arrays that were sent."""

    def pack(self, batch: CallBatch) -> Packed:
        """Pickle a batch."""
        blobs: dict[str, RawBlob] = {}
        data = self._pickled(batch, blobs)
        whole = None
        if data.nbytes > MESSAGE_BYTES:
            whole = RawBlob(data)
            data = self._pickled(_Stored(whole.digest), {})
        return Packed(data=bytes(data), blobs=tuple(blobs.values()), whole=whole)

    def _pickled(self, value: Any, blobs: dict[str, RawBlob]) -> memoryview:
        stream = io.BytesIO()
        _CallPickler(stream, self._reduce_array, blobs).dump(value)
        return stream.getbuffer()

    def _reduce_array(self, array: Any, blobs: dict[str, RawBlob]) -> Any:
        """Return the reduction of an array to a blob or a file; NotImplemented for a copy."""
        rules = self._rules
        if array.dtype.hasobject:
            return NotImplemented
        if rules.same_files:
            backing = joblib_reducer._get_backing_memmap(array)
            if backing is not None:
                return joblib_reducer._reduce_memmap_backed(array, backing)
        large = array.nbytes > rules.least
        blob = self._blob(array) if large else self._repeated(array)
        if blob is None:
            return NotImplemented
        blobs[blob.digest] = blob
        order = "F" if array.flags.fnc else "C"
        writable = not large or rules.max_nbytes is None or not rules.read_only
        return mapped_array, (blob.digest, array.dtype, array.shape, order, writable)

    def _blob(self, array: Any) -> RawBlob:
        known, blob = self._known.get(id(array), (None, None))
        if known is None or blob is None or known() is not array:
            blob = self._store.blob(_bytes_of(array))
            self._known[id(array)] = weakref.ref(array), blob
        return blob

    def _repeated(self, array: Any) -> RawBlob | None:
        """Return the blob of a small array if its content was sent before, else None."""
        if array.nbytes <= REPEATED_BYTES:
            return None
        content = _bytes_of(array)
        digest = hashlib.sha256(content).hexdigest()
        if digest in self._seen:
            return self._store.blob(content, digest)
        self._seen.add(digest)
        return None


def _bytes_of(array: Any) -> memoryview:
    """Return the content of an array, in C order unless it is only contiguous in Fortran's."""
    flat = array.ravel(order="F" if array.flags.fnc else "C")
    return memoryview(flat.view(np.uint8))


class _Stored:
    """Pickled as a call that loads the object whose pickle is a blob."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return stored, (self._name,)


class _CallPickler(NodePickler):
    """Pickler for nodes that reduces arrays by a function."""

    def __init__(
        self,
        stream: io.BytesIO,
        reduce_array: Callable[[Any, dict[str, RawBlob]], Any],
        blobs: dict[str, RawBlob],
    ) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._reduce_array, self._blobs = reduce_array, blobs

    def reducer_override(self, obj: Any) -> Any:
        """Reduce arrays."""
        if type(obj) is np.ndarray or type(obj) is np.memmap:
            reduced = self._reduce_array(obj, self._blobs)
            if reduced is not NotImplemented:
                return reduced
        return super().reducer_override(obj)
