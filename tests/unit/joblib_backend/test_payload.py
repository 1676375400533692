"""Pickled batches: large arrays become blobs, which slots map."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skygrid.joblib_backend.payload import (
    MESSAGE_BYTES,
    ArrayRules,
    BlobStore,
    CallPackage,
)
from skygrid.worker.evaluation import call_arrays
from skygrid.worker.evaluation.call_arrays import BLOBS_FOLDER, blob_path, use_folder
from skygrid.worker.evaluation.calls import CallBatch
from skygrid.worker.wire.blobs import RawBlob

LIMIT = 1000
"""Bytes above which arrays are blobs in these tests."""


class Node:
    """A node's folder with the blobs that it has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / BLOBS_FOLDER).mkdir()
        use_folder(str(folder))

    def opened(self, package: CallPackage, *arguments: Any) -> tuple[Any, ...]:
        """Return the arguments of a call as it receives them on the node."""
        packed = package.pack(CallBatch([(len, arguments, {})], 1))
        for blob in [*packed.blobs, *([packed.whole] if packed.whole else [])]:
            self.path(blob).write_bytes(b"".join(bytes(part) for _, part in blob.chunks()))
        batch: CallBatch = pickle.loads(packed.data)
        return tuple(batch.calls[0][1])

    def path(self, blob: RawBlob) -> Path:
        return Path(blob_path(str(self._folder), blob.digest))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    yield Node(tmp_path)
    use_folder("")


def package(store: BlobStore | None = None, **rules: Any) -> CallPackage:
    options: dict[str, Any] = {"max_nbytes": LIMIT, "read_only": True, "same_files": False}
    return CallPackage(store or BlobStore(10**9), ArrayRules(**options | rules))


def blobs_of(package: CallPackage, *arguments: Any) -> tuple[RawBlob, ...]:
    """Return the blobs of the arrays of a call."""
    return package.pack(CallBatch([(len, arguments, {})], 1)).blobs


@pytest.mark.parametrize(
    "array",
    [
        np.arange(500.0),
        np.asfortranarray(np.arange(600.0).reshape(20, 30)),
        np.arange(2000, dtype=">i4").reshape(40, 50)[:, ::3],
        np.array(["2020-01-01"] * 400, dtype="M8[D]"),
        np.zeros(400, dtype=[("a", "i4"), ("b", "f8")]),
        np.array([f"word {i}" for i in range(100)]),
    ],
    ids=["C", "F", "strided", "dates", "records", "texts"],
)
def test_an_array_arrives_as_it_was(node: Node, array: Any) -> None:
    """Values, dtype, shape and order are those of the array; it is read-only."""
    (found,) = node.opened(package(), array)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.flags.f_contiguous == array.flags.f_contiguous
    assert not found.flags.writeable


def test_small_arrays_and_objects_are_copies(node: Node) -> None:
    """Small arrays, and arrays of Python objects, are in the pickle and can be changed."""
    small, objects = np.arange(10.0), np.array([{"a": 1}] * 500, dtype=object)
    assert package().pack(CallBatch([(len, (small, objects), {})], 1)).blobs == ()
    found, others = node.opened(package(), small, objects)
    assert found.flags.writeable
    assert others.tolist() == objects.tolist()


def test_a_changed_copy_stays_in_its_call(node: Node) -> None:
    """Without read-only maps, a call that changes an array changes it for itself alone."""
    array, one = np.zeros(500), package(read_only=False)
    (first,) = node.opened(one, array)
    first += 1
    (second,) = node.opened(one, array)
    assert second.sum() == 0


def test_an_array_is_read_once() -> None:
    """The calls of a loop share one blob, also for views that are copied; another loop reads
    again.
    """
    array = np.zeros((500, 2))[:, 0]
    store = BlobStore(10**9)
    one = package(store)
    digests = {blob.digest for i in range(3) for blob in blobs_of(one, array, i)}
    array += 1
    digests |= {blob.digest for blob in blobs_of(one, array, 3)}
    assert len(digests) == 1
    (again,) = blobs_of(package(store), array)
    assert again.digest not in digests


def test_a_smaller_array_is_a_blob_when_it_is_sent_again(node: Node) -> None:
    """Equal content below the limit is sent twice at most, and each call can change its copy."""
    one = package(max_nbytes=1 << 20)
    array, equal = np.zeros(10_000), np.zeros(10_000)
    assert blobs_of(one, array) == ()
    (found,) = node.opened(one, equal)
    assert blobs_of(one, array)[0].size == array.nbytes
    found += 1
    (second,) = node.opened(one, array)
    assert second.sum() == 0
    array += 1
    assert blobs_of(one, array) == ()


def test_a_large_pickle_is_a_blob(node: Node) -> None:
    """A pickle that is too large for a message is a blob as a whole, beside those of its arrays."""
    words, array = [f"{i}" for i in range(MESSAGE_BYTES // 4)], np.arange(500.0)
    packed = package().pack(CallBatch([(len, (words, array), {})], 1))
    assert len(packed.data) < 1000
    assert packed.whole is not None
    assert len(packed.blobs) == 1
    found, numbers = node.opened(package(), words, array)
    assert found == words
    assert numbers.sum() == array.sum()


def test_the_store_keeps_the_newest_blobs() -> None:
    """Equal content is one blob; above the limit the blobs that were used longest ago go."""
    store = BlobStore(2500)
    contents = [memoryview(bytes([i]) * 1000) for i in range(3)]
    first, second = store.blob(contents[0]), store.blob(contents[1])
    assert store.blob(memoryview(bytes(1000))) is first
    store.blob(contents[2])
    assert store.blob(contents[0]) is first
    assert store.blob(contents[1]) is not second
    assert store.blob(memoryview(bytes(5000))).size == 5000
    newest = store.blob(contents[0])
    store.clear()
    assert store.blob(contents[0]) is not newest


def test_a_blob_is_a_copy() -> None:
    """A blob keeps its bytes when the original changes, and is known by its content."""
    content = bytearray(b"x" * 100)
    blob = RawBlob(memoryview(content))
    content[:] = b"y" * 100
    assert b"".join(bytes(part) for _, part in blob.chunks()) == b"x" * 100
    assert blob.token == blob.digest == RawBlob(memoryview(b"x" * 100)).digest


def test_mappings_of_deleted_blobs_are_dropped(node: Node, tmp_path: Path) -> None:
    """A slot keeps the mapping of a blob while the agent has it."""
    (array,) = node.opened(package(), np.arange(500.0))
    assert len(call_arrays._mapped) == 1
    call_arrays.forget_deleted()
    assert len(call_arrays._mapped) == 1
    for path in (tmp_path / BLOBS_FOLDER).iterdir():
        path.unlink()
    call_arrays.forget_deleted()
    assert not call_arrays._mapped
    assert array.sum() == np.arange(500.0).sum()
