"""Blobs that a node keeps for later calls."""

from __future__ import annotations

from skygrid.engine.kept_blobs import KeptBlobs
from skygrid.worker.wire.blobs import RawBlob

BLOBS = [RawBlob(memoryview(bytes([i]) * 100)) for i in range(4)]


def test_the_oldest_unused_blobs_go_first() -> None:
    """Blobs that calls need stay, the others go in the order of their last use."""
    kept = KeptBlobs()
    for blob in (*BLOBS, BLOBS[0], BLOBS[1]):
        kept.use([blob])
    assert kept.bytes == 400
    assert kept.drop(250, {BLOBS[2].digest}) == [BLOBS[3].digest, BLOBS[0].digest]
    assert kept.names == (BLOBS[2].digest, BLOBS[1].digest)
    assert kept.drop(0, {blob.digest for blob in BLOBS}) == []
    kept.clear()
    assert kept.bytes == 0
