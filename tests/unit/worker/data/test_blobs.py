"""Blobs and the store: objects arrive unchanged, with their arrays mapped, aligned and private."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from skygrid.worker.data.store import BlobStore
from skygrid.worker.wire.blobs import ALIGNMENT, Blob, BlobError, open_blob
from skygrid.worker.wire.messages.to_agent import BlobAt, BlobChunk

# NumPy's own pickles convert dates of the other byte order.
DTYPES = (
    arrays_of.boolean_dtypes()
    | arrays_of.integer_dtypes()
    | arrays_of.unsigned_integer_dtypes()
    | arrays_of.floating_dtypes()
    | arrays_of.complex_number_dtypes()
    | arrays_of.datetime64_dtypes(endianness="<")
    | arrays_of.byte_string_dtypes()
    | arrays_of.unicode_string_dtypes()
)


def written(blob: Blob, chunk: int = 1 << 20) -> IO[bytes]:
    """Return a file with the blob's bytes."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by the caller
    for offset, data in blob.chunks(chunk):
        assert file.tell() == offset
        file.write(data)
    assert file.tell() == blob.size
    file.flush()
    return file


def through(value: Any, chunk: int = 1 << 20) -> Any:
    """Return the value after its transport as a blob."""
    blob = Blob(value)
    with written(blob, chunk) as file:
        return open_blob(file, blob.size)


def chunks_of(blob: Blob, size: int = 1000) -> list[BlobChunk]:
    return [
        BlobChunk(digest=blob.digest, size=blob.size, offset=offset, data=bytes(data))
        for offset, data in blob.chunks(size)
    ]


def assert_same(arrived: np.ndarray, array: np.ndarray) -> None:
    assert arrived.dtype == array.dtype
    assert arrived.shape == array.shape
    assert arrived.tobytes() == array.tobytes()


@given(
    arrays_of.arrays(
        dtype=DTYPES,
        shape=arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    st.sampled_from("CF"),
    st.integers(1, 300),
)
def test_arrays_of_any_kind_arrive(array: np.ndarray, order: Any, chunk: int) -> None:
    array = np.asarray(array, order=order)
    arrived = through({"deep": [(array, 1), array]}, chunk)
    assert_same(arrived["deep"][0][0], array)
    assert arrived["deep"][0][0] is arrived["deep"][1]
    for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS"):
        assert arrived["deep"][1].flags[flag] == array.flags[flag]


@pytest.mark.parametrize("step", [2, -1, 3])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("order", ["C", "F"])
def test_views_with_gaps_arrive(step: int, axis: int, order: Any) -> None:
    whole = np.asarray(np.arange(600.0).reshape(20, 30), order=order)
    view = whole[::step] if axis == 0 else whole[:, ::step]
    arrived = through(view)
    assert_same(arrived, view)
    assert_same(arrived[[3, 1]], view[[3, 1]])


def test_arrays_are_aligned() -> None:
    arrays = [np.ones(n, dtype=dtype) for n in range(1, 40) for dtype in ("u1", "<f4", "<f8")]
    for arrived, array in zip(through(arrays), arrays, strict=True):
        assert_same(arrived, array)
        assert arrived.ctypes.data % ALIGNMENT == 0


def test_a_large_array_is_mapped_and_not_copied() -> None:
    blob = Blob(np.arange(8 * 2**20, dtype="<f8"))
    with written(blob) as file:
        before = _resident()
        arrived = open_blob(file, blob.size)
        assert _resident() - before < 16 * 2**20
        assert arrived[-1] == 8 * 2**20 - 1


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_writes_are_private_to_each_reader() -> None:
    blob = Blob({"X": np.zeros(1000), "names": np.array(["a", "b"], dtype=object)})
    with written(blob) as file:
        one, other = open_blob(file, blob.size), open_blob(file, blob.size)
        one["X"][:] = 1.0
        one["names"][0] = "changed"
        assert not other["X"].any()
        assert not open_blob(file, blob.size)["X"].any()
        assert other["names"].tolist() == ["a", "b"]


def test_a_read_only_array_stays_read_only() -> None:
    array = np.arange(100.0)
    array.flags.writeable = False
    assert not through(array).flags.writeable


def test_an_array_outlives_its_file() -> None:
    assert through(np.arange(100_000.0)).sum() == np.arange(100_000.0).sum()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        (),
        b"",
        b"x" * 100_000,
        bytearray(b"y" * 100_000),
        {"a": [1, (2, {3})]},
        np.empty((0, 5)),
        np.array(3.5),
        np.array([None, "a", [1]], dtype=object),
        np.array([("a", 1.5)], dtype=[("name", "U5"), ("x", "<f4")]),
        np.array(["2020-01-01"], dtype="M8[D]"),
    ],
    ids=repr,
)
def test_odd_values_arrive(value: Any) -> None:
    arrived = through(value)
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value)


def test_data_frames_arrive() -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, np.nan, 3.0],
            "text": ["a", None, "c"],
            "kind": pd.Categorical(["x", "y", "x"]),
            "when": pd.to_datetime(["2020-01-01", None, "2021-01-01"]),
            "whole": pd.array([1, None, 3], dtype="Int64"),
        },
        index=[5, 3, 1],
    )
    arrived = through({"X": frame, "y": frame["number"]})
    pd.testing.assert_frame_equal(arrived["X"], frame)
    pd.testing.assert_series_equal(arrived["y"], frame["number"])


def test_polars_frames_arrive() -> None:
    frame = pl.DataFrame({"a": [1, None, 3], "b": ["x", "y", None]})
    assert through(frame).equals(frame)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok"])
def test_sparse_matrices_arrive(kind: str) -> None:
    matrix = scipy.sparse.random(50, 20, density=0.1, format=kind, random_state=0)
    arrived = through(matrix)
    assert type(arrived) is type(matrix)
    assert (arrived != matrix).nnz == 0


def test_the_digest_is_that_of_the_bytes() -> None:
    blob = Blob([np.arange(10.0), "text"])
    with written(blob) as file:
        file.seek(0)
        assert blob.digest == hashlib.sha256(file.read()).hexdigest()
    assert Blob([np.arange(10.0), "text"]).digest == blob.digest
    assert Blob([np.arange(11.0), "text"]).digest != blob.digest


def test_an_object_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises((pickle.PicklingError, TypeError)):
        Blob({"X": io.BytesIO().__iter__, "lock": __import__("threading").Lock()})


# ---- the store ----------------------------------------------------------------------------------


def test_a_store_opens_received_blobs() -> None:
    store, blob = BlobStore(), Blob({"X": np.arange(5000.0)})
    for chunk in chunks_of(blob):
        store.receive(chunk)
    assert_same(store.open(blob.digest)["X"], np.arange(5000.0))


def test_blobs_that_arrive_in_turn_do_not_mix() -> None:
    store, one, other = BlobStore(), Blob(np.arange(500.0)), Blob(np.arange(500.0) + 1)
    for pair in zip(chunks_of(one), chunks_of(other), strict=True):
        for chunk in pair:
            store.receive(chunk)
    assert store.open(one.digest)[0] == 0.0
    assert store.open(other.digest)[0] == 1.0


def test_a_changed_byte_is_noticed() -> None:
    store, blob = BlobStore(), Blob(np.arange(500.0))
    *most, last = chunks_of(blob)
    for chunk in most:
        store.receive(chunk)
    data = bytes([last.data[0] ^ 1]) + last.data[1:]
    with pytest.raises(BlobError, match="arrived broken"):
        store.receive(BlobChunk(digest=last.digest, size=last.size, offset=last.offset, data=data))
    with pytest.raises(BlobError, match="has not arrived"):
        store.open(blob.digest)


def test_a_missing_end_is_noticed() -> None:
    store, blob = BlobStore(), Blob(np.arange(500.0))
    for chunk in chunks_of(blob)[:-1]:
        store.receive(chunk)
    with pytest.raises(BlobError, match="has not arrived"):
        store.open(blob.digest)


def test_chunks_out_of_order_are_refused() -> None:
    store, chunks = BlobStore(), chunks_of(Blob(np.arange(500.0)))
    with pytest.raises(BlobError, match="does not begin at offset 0"):
        store.receive(chunks[1])
    store.receive(chunks[0])
    with pytest.raises(BlobError, match="expected offset"):
        store.receive(chunks[3])


def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import skygrid.worker.data.store as module

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(data[: len(data) // 2])

    monkeypatch.setattr(module, "unnamed_file", lambda size: Full())
    with pytest.raises(BlobError, match="no room"):
        BlobStore().receive(chunks_of(Blob(np.arange(500.0)))[0])


def test_a_file_of_this_machine_is_adopted(tmp_path: Path) -> None:
    blob, store = Blob(np.arange(5000.0)), BlobStore()
    store.adopt(BlobAt(name="x", size=blob.size, path=blob.path))
    assert_same(store.open("x"), np.arange(5000.0))
    with pytest.raises(BlobError, match="bytes long"):
        store.adopt(BlobAt(name="y", size=blob.size + 1, path=blob.path))
    with pytest.raises(BlobError, match="cannot open"):
        store.adopt(BlobAt(name="z", size=1, path=str(tmp_path / "missing")))


def test_a_store_closes_all_but_the_kept_blobs() -> None:
    store, blobs = BlobStore(), [Blob(n) for n in range(3)]
    for blob in blobs:
        for chunk in chunks_of(blob):
            store.receive(chunk)
    dropped, _ = store.file(blobs[0].digest)
    store.keep_only({blobs[1].digest})
    assert dropped.closed
    assert store.open(blobs[1].digest) == 1
    for blob in (blobs[0], blobs[2]):
        with pytest.raises(BlobError, match="has not arrived"):
            store.open(blob.digest)


def test_a_truncated_file_is_not_opened() -> None:
    blob = Blob(np.arange(5000.0))
    with written(blob) as file:
        file.truncate(blob.size - 5000)
        with pytest.raises(ValueError, match="mmap length"):
            open_blob(file, blob.size)
