"""Compressed chunks of blobs."""

from __future__ import annotations

import os
import tempfile
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skygrid.worker.limits import CHUNK_BYTES
from skygrid.worker.wire import packing
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.packing import PackedChunks, pack, unpack


def bytes_of(blob: Blob) -> bytes:
    return b"".join(bytes(data) for _, data in blob.chunks())


def put_together(blob: Blob, offset: int = 0) -> tuple[bytes, int]:
    """Return the bytes that arrive and the number of bytes sent."""
    arrived, sent = b"", 0
    for start, data, packed in blob.pieces(offset):
        assert start == offset + len(arrived)
        arrived += unpack(bytes(data)) if packed else bytes(data)
        sent += len(data)
    return arrived, sent


@given(st.binary(max_size=4000), st.integers(0, 50))
def test_a_chunk_is_unpacked_as_it_was(data: bytes, repeats: int) -> None:
    """A packed chunk is at least 5 % smaller and unpacks to the same bytes."""
    data *= repeats
    packed = pack(data)
    if packed is not None:
        assert len(packed) <= 0.95 * len(data)
        assert unpack(packed) == data


@given(st.integers(0, 2**63), st.data())
def test_a_blob_can_be_sent_from_any_byte(seed: int, draw: Any) -> None:
    """From any offset, exactly the rest arrives."""
    rng = np.random.default_rng(seed)
    value = [rng.integers(0, 9, 3000), rng.normal(size=500), "text" * 300, np.zeros(0)]
    blob = Blob(value)
    whole = bytes_of(blob)
    offset = draw.draw(st.integers(0, blob.size - 1))
    assert put_together(blob, offset)[0] == whole[offset:]


def test_a_packed_blob_is_about_as_small_as_zlib_makes_it() -> None:
    """A packed blob is within 5 % of its size under zlib's level 1."""
    blob = Blob(np.random.default_rng(0).integers(0, 50, size=2**20))
    arrived, sent = put_together(blob)
    assert arrived == bytes_of(blob)
    assert sent < 1.05 * len(zlib.compress(arrived, 1))


def test_incompressible_data_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of data that cannot be compressed, only a small part is tried."""
    tried = []
    real = zlib.compress
    monkeypatch.setattr(
        packing.zlib, "compress", lambda data, level: tried.append(len(data)) or real(data, level)
    )
    blob = Blob(np.random.default_rng(0).normal(size=2**19))
    assert not any(packed for _, data, packed in blob.pieces() if len(data) > 1000)
    assert sum(tried) < blob.size / 10


def test_each_chunk_is_packed_once_for_all_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several nodes get the same pieces at the same time, and each piece is compressed once."""
    packs = []
    real = packing.pack
    monkeypatch.setattr(packing, "pack", lambda data: packs.append(1) or real(data))
    blob = Blob(np.arange(2**19))
    got: list[list[Any]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda mine=mine: mine.extend(blob.pieces())) for mine in got
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = [[(start, bytes(data), packed) for start, data, packed in mine] for mine in got]
    assert all(pieces == sent[0] for pieces in sent)
    assert len(packs) == len(sent[0]) == len(list(blob.chunks()))


def test_a_full_disk_only_costs_compression_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the driver's disk is full, chunks are compressed again for each node."""

    def full(**options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    blob = Blob(np.arange(2**17))
    assert put_together(blob) == put_together(blob)
    assert put_together(blob)[0] == bytes_of(blob)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no zlib at all",
        zlib.compress(bytes(5000))[:-3],
        zlib.compress(bytes(5000)) + b"more",
        zlib.compress(bytes(CHUNK_BYTES + 1)),
        zlib.compress(bytes(500 * CHUNK_BYTES)),
    ],
    ids=["empty", "other", "cut", "longer", "too large", "bomb"],
)
def test_an_invalid_packed_chunk_is_refused(packed: bytes) -> None:
    """No more than the size of a chunk is unpacked."""
    with pytest.raises(ValueError, match="packed chunk"):
        unpack(packed)


def test_the_largest_chunk_can_be_unpacked() -> None:
    """A chunk of the maximum size can be unpacked."""
    assert unpack(zlib.compress(bytes(CHUNK_BYTES))) == bytes(CHUNK_BYTES)


def test_the_file_of_packed_chunks_is_closed_with_them() -> None:
    """The file of packed chunks is closed when the chunks are released."""
    before = set(os.listdir("/proc/self/fd"))
    chunks = PackedChunks([(0, memoryview(bytes(10_000)))])
    list(chunks.since(0))
    assert set(os.listdir("/proc/self/fd")) > before
    del chunks
    assert set(os.listdir("/proc/self/fd")) <= before
