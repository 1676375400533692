"""Data that a node keeps: reuse, checks and removal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skygrid.worker.data import cache as module
from skygrid.worker.data.cache import BlobCache
from skygrid.worker.data.store import BlobStore
from skygrid.worker.limits import UNUSED_SECONDS
from skygrid.worker.wire.blobs import Blob, BlobError
from skygrid.worker.wire.messages.from_agent import BlobWanted
from skygrid.worker.wire.messages.to_agent import BlobChunk, BlobOffer

SIZE = 1000


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> BlobCache:
    return BlobCache(tmp_path / "kept", 10 * SIZE, clock)


def content(number: int, size: int = SIZE) -> tuple[str, bytes]:
    """Return digest and bytes of a blob."""
    data = bytes([number]) * size
    return hashlib.sha256(data).hexdigest(), data


def offered(store: BlobStore, digest: str, size: int) -> int:
    """Offer a blob to the store and return the offset from which the store wants it."""
    store.offer(BlobOffer(digest=digest, size=size))
    while (answer := store.look()) is None:
        pass
    assert answer.digest == digest
    assert not store.looking
    return answer.offset


def send(
    store: BlobStore, digest: str, data: bytes, start: int = 0, end: int | None = None
) -> BlobWanted | None:
    """Send a part of a blob in chunks of 100 bytes and return the last answer."""
    answer = None
    for offset in range(start, len(data) if end is None else end, 100):
        piece = data[offset : offset + 100]
        answer = store.receive(BlobChunk(digest=digest, size=len(data), offset=offset, data=piece))
    return answer


def put(cache: BlobCache, number: int, size: int = SIZE) -> BlobStore:
    """Return a store that has received a blob and holds it."""
    store = BlobStore(cache)
    digest, data = content(number, size)
    assert offered(store, digest, size) == 0
    assert send(store, digest, data) == BlobWanted(digest=digest, offset=size)
    return store


def names(cache: BlobCache) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(cache._folder))
    return []


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that simulates a disk of a given size, with blobs and parts on it."""

    def of(size: int) -> None:
        def left(folder: Path) -> int:
            return size - sum(file.stat().st_size for file in folder.iterdir())

        monkeypatch.setattr(module, "_free", left)

    return of


# ---- reuse ---------------------------------------------------------------------------------------


def test_a_blob_is_reused_by_the_next_run(cache: BlobCache) -> None:
    """A blob that one store received is available to the next one without a transfer."""
    blob = Blob({"X": list(range(100))})
    first = BlobStore(cache)
    assert offered(first, blob.digest, blob.size) == 0
    for offset, data, packed in blob.pieces():
        chunk = BlobChunk(
            digest=blob.digest, size=blob.size, offset=offset, data=bytes(data), packed=packed
        )
        first.receive(chunk)
    assert names(cache) == [f"{blob.digest}.blob"]
    second = BlobStore(cache)
    assert offered(second, blob.digest, blob.size) == blob.size
    assert second.open(blob.digest) == first.open(blob.digest) == {"X": list(range(100))}


def test_a_blob_in_use_is_not_read_again(cache: BlobCache) -> None:
    """A store that holds a blob answers an offer at once."""
    store = put(cache, 1)
    store.offer(BlobOffer(digest=content(1)[0], size=SIZE))
    assert store.look() == BlobWanted(digest=content(1)[0], offset=SIZE)


def test_without_a_cache_nothing_is_kept() -> None:
    """A store without a cache requests every blob that it does not hold."""
    store, (digest, data) = BlobStore(), content(1)
    assert offered(store, digest, SIZE) == 0
    assert store.receiving == 0
    send(store, digest, data, 0, 500)
    assert store.receiving == 0.5
    assert send(store, digest, data, 500) == BlobWanted(digest=digest, offset=SIZE)
    assert store.receiving is None
    assert offered(store, digest, SIZE) == SIZE
    assert offered(BlobStore(), digest, SIZE) == 0


def test_a_blob_without_an_offer_is_not_kept(cache: BlobCache) -> None:
    """Small blobs, which are not offered, are not kept in the folder."""
    store, (digest, data) = BlobStore(cache), content(1)
    assert send(store, digest, data) is None
    assert store.complete == (digest,)
    assert names(cache) == []


@given(cuts=st.lists(st.integers(0, SIZE // 100 - 1), max_size=6))
def test_a_broken_transfer_resumes(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    """After each break of a transfer, only the missing bytes are sent."""
    cache = BlobCache(tmp_path_factory.mktemp("c"), 10 * SIZE)
    digest, data = content(1)
    have = 0
    for cut in cuts:
        store = BlobStore(cache)
        assert offered(store, digest, SIZE) == have
        end = min(have + 100 * cut, SIZE - 100)
        send(store, digest, data, have, end)
        have = max(have, end)
        store.drop_partial()
    store = BlobStore(cache)
    assert offered(store, digest, SIZE) == have
    assert send(store, digest, data, have) == BlobWanted(digest=digest, offset=SIZE)
    assert names(cache) == [f"{digest}.blob"]
    assert store.file(digest)[0].seek(0) == 0
    assert store.file(digest)[0].read() == data


def test_a_complete_part_is_not_sent_again(cache: BlobCache) -> None:
    """A part that is complete but not renamed becomes a blob without a transfer."""
    digest, data = content(1)
    cache._folder.mkdir()
    (cache._folder / f"{digest}.part").write_bytes(data)
    assert offered(BlobStore(cache), digest, SIZE) == SIZE
    assert names(cache) == [f"{digest}.blob"]


# ---- checks --------------------------------------------------------------------------------------


@given(change=st.sampled_from(["byte", "shorter", "longer", "empty"]), where=st.integers(0, 999))
def test_a_damaged_blob_is_removed_and_requested(
    tmp_path_factory: pytest.TempPathFactory, change: str, where: int
) -> None:
    """A kept blob with another digest is requested again from its beginning."""
    cache = BlobCache(tmp_path_factory.mktemp("c"), 10 * SIZE)
    put(cache, 1).keep_only(set())
    digest, data = content(1)
    path = cache._folder / f"{digest}.blob"
    broken = {
        "byte": data[:where] + b"\xff" + data[where + 1 :],
        "shorter": data[:where],
        "longer": data + b"x",
        "empty": b"",
    }
    path.write_bytes(broken[change])
    store = BlobStore(cache)
    assert offered(store, digest, SIZE) == 0
    assert names(cache) == [f"{digest}.part"]
    send(store, digest, data)
    assert path.read_bytes() == data


@pytest.mark.parametrize("length", [500, SIZE, SIZE + 1])
def test_a_damaged_part_is_sent_again(cache: BlobCache, length: int) -> None:
    """A damaged part is dropped, and the whole blob is requested."""
    digest, data = content(1)
    cache._folder.mkdir()
    (cache._folder / f"{digest}.part").write_bytes(b"\xff" * length)
    store = BlobStore(cache)
    start = offered(store, digest, SIZE)
    assert start == (500 if length == 500 else 0)
    answer = send(store, digest, data, start)
    if start:
        assert answer is None
        assert store.looking
        assert store.look() == BlobWanted(digest=digest, offset=0)
        answer = send(store, digest, data)
    assert answer == BlobWanted(digest=digest, offset=SIZE)
    assert names(cache) == [f"{digest}.blob"]


def test_data_with_another_digest_is_refused(cache: BlobCache) -> None:
    """Data that was just sent completely with another digest is an error, not a new request."""
    digest, data = content(1)
    store = BlobStore(cache)
    offered(store, digest, SIZE)
    with pytest.raises(BlobError, match="arrived broken"):
        send(store, digest, data[:-1] + b"x")
    assert names(cache) == []


def test_a_name_that_is_no_digest_is_refused(cache: BlobCache) -> None:
    """A digest cannot be a path."""
    with pytest.raises(BlobError, match="not a digest"):
        offered(BlobStore(cache), "../../x", SIZE)


def test_only_the_user_can_read_kept_data(cache: BlobCache) -> None:
    """Only the user has access to kept data, because it is private and opening it runs code."""
    put(cache, 1)
    (name,) = names(cache)
    assert cache._folder.stat().st_mode & 0o777 == 0o700
    assert (cache._folder / name).stat().st_mode & 0o777 == 0o600


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    """The error about a folder that cannot be used names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BlobError, match=r"cannot keep data in .*file/kept"):
        offered(BlobStore(BlobCache(tmp_path / "file" / "kept", 1)), content(1)[0], SIZE)


# ---- two agents ----------------------------------------------------------------------------------


def test_two_agents_receive_the_same_blob_at_once(cache: BlobCache) -> None:
    """Two agents that receive one blob have a part each, and one blob is left."""
    digest, data = content(1)
    one, other = BlobStore(cache), BlobStore(cache)
    assert offered(one, digest, SIZE) == offered(other, digest, SIZE) == 0
    assert names(cache) == [f"{digest}.1.part", f"{digest}.part"]
    for start in range(0, SIZE, 100):
        ends = [send(store, digest, data, start, start + 100) for store in (one, other)]
    assert ends == [BlobWanted(digest=digest, offset=SIZE)] * 2
    for store in (one, other):
        store.file(digest)[0].seek(0)
        assert store.file(digest)[0].read() == data
    assert names(cache) == [f"{digest}.blob"]


def test_the_longest_part_without_a_writer_is_resumed(cache: BlobCache) -> None:
    """Of two broken transfers, the longer one is resumed."""
    digest, data = content(1)
    one, other = BlobStore(cache), BlobStore(cache)
    offered(one, digest, SIZE)
    offered(other, digest, SIZE)
    send(one, digest, data, 0, 200)
    send(other, digest, data, 0, 700)
    one.drop_partial()
    other.drop_partial()
    third = BlobStore(cache)
    assert offered(third, digest, SIZE) == 700
    send(third, digest, data, 700)
    assert names(cache) == [f"{digest}.blob"]


# ---- removal -------------------------------------------------------------------------------------


def test_unused_data_is_removed(cache: BlobCache, clock: Clock) -> None:
    """Blobs and parts are removed thirty days after their last use."""
    for number in (1, 2):
        put(cache, number).keep_only(set())
    store = BlobStore(cache)
    offered(store, content(3)[0], SIZE)
    send(store, *content(3), 0, 500)
    store.drop_partial()
    part = cache._folder / f"{content(3)[0]}.part"
    os.utime(part, (clock.now, clock.now))
    clock.now += UNUSED_SECONDS - 1
    cache.tidy()
    assert len(names(cache)) == 3
    user = BlobStore(cache)
    offered(user, content(2)[0], SIZE)
    user.keep_only(set())
    clock.now += 2
    cache.tidy()
    assert names(cache) == [f"{content(2)[0]}.blob"]


def test_the_least_recently_used_blob_is_removed_first(cache: BlobCache, clock: Clock) -> None:
    """The least recently used blobs are removed until a new one fits the limit."""
    for number in range(10):
        clock.now += 1
        put(cache, number).keep_only(set())
    clock.now += 1
    user = BlobStore(cache)
    offered(user, content(0)[0], SIZE)
    user.keep_only(set())
    clock.now += 1
    put(cache, 10, 2 * SIZE).keep_only(set())
    left = {content(number)[0] for number in (0, 3, 4, 5, 6, 7, 8, 9)}
    assert set(names(cache)) == {f"{name}.blob" for name in {*left, content(10, 2 * SIZE)[0]}}


def test_data_in_use_is_never_removed(cache: BlobCache, clock: Clock) -> None:
    """Neither age nor size removes a blob in use or a part that is being received."""
    holders = [put(cache, number) for number in range(3)]
    writer = BlobStore(cache)
    offered(writer, content(4)[0], SIZE)
    send(writer, *content(4), 0, 500)
    clock.now += 2 * UNUSED_SECONDS
    BlobCache(cache._folder, 0, clock).tidy()
    assert len(names(cache)) == 4
    holders[1].keep_only(set())
    BlobCache(cache._folder, 0, clock).tidy()
    assert len(names(cache)) == 3
    assert f"{content(1)[0]}.blob" not in names(cache)
    writer.drop_partial()


def test_other_files_are_never_removed(cache: BlobCache, clock: Clock) -> None:
    """Only blobs and parts are removed."""
    cache._folder.mkdir()
    (cache._folder / "notes.txt").write_text("mine")
    (cache._folder / f"{'ab' * 32}.blob").mkdir()
    clock.now += 10 * UNUSED_SECONDS
    BlobCache(cache._folder, 0, clock).tidy()
    assert len(names(cache)) == 2


def kept(cache: BlobCache) -> Iterator[int]:
    for name in names(cache):
        yield (cache._folder / name).stat().st_size


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True),
    limit=st.integers(0, 10_000),
)
def test_the_sum_stays_under_the_limit(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int
) -> None:
    """Unused data stays under the limit, and nothing is removed without need."""
    clock = Clock()
    cache = BlobCache(tmp_path_factory.mktemp("c"), limit, clock)
    for size in sizes:
        clock.now += 1
        put(cache, 7, 100 * size).keep_only(set())
    cache.tidy()
    newest, rest = [], limit
    for size in reversed(sizes):
        if 100 * size <= rest:
            rest -= 100 * size
            newest.append(100 * size)
        else:
            break
    assert sum(kept(cache)) <= limit
    assert sum(newest) <= sum(kept(cache))


# ---- lack of space -------------------------------------------------------------------------------


def test_a_lack_of_space_is_reported_before_the_transfer(cache: BlobCache, free: Any) -> None:
    """The error names the missing space, the folder and the remedy; no file is left."""
    free(module.SPARE_BYTES + SIZE - 1)
    with pytest.raises(BlobError) as told:
        offered(BlobStore(cache), content(1)[0], SIZE)
    for text in ("64 MiB of disk left under", str(cache._folder), "set folder under [ssh]"):
        assert text in str(told.value)
    assert names(cache) == []


def test_a_resumed_transfer_needs_less_space(cache: BlobCache, free: Any) -> None:
    """A resumed transfer needs space for its rest only."""
    digest, data = content(1)
    store = BlobStore(cache)
    offered(store, digest, SIZE)
    send(store, digest, data, 0, 700)
    store.drop_partial()
    free(module.SPARE_BYTES + SIZE)
    assert offered(BlobStore(cache), digest, SIZE) == 700


@pytest.mark.parametrize("enough", [True, False])
def test_old_blobs_are_removed_for_a_new_one(
    cache: BlobCache, clock: Clock, free: Any, enough: bool
) -> None:
    """Unused blobs are removed, the oldest first, if that frees enough space; else all stay."""
    for number in range(4):
        clock.now += 1
        put(cache, number).keep_only(set())
    holder = BlobStore(cache)
    offered(holder, content(0)[0], SIZE)
    size = 3 * SIZE if enough else 3 * SIZE + 1
    free(module.SPARE_BYTES + 4 * SIZE)
    store = BlobStore(cache)
    if enough:
        assert offered(store, content(9, size)[0], size) == 0
        left = [f"{content(0)[0]}.blob", f"{content(9, size)[0]}.part"]
        assert names(cache) == sorted(left)
    else:
        with pytest.raises(BlobError, match="of disk left"):
            offered(store, content(9, size)[0], size)
        assert len(names(cache)) == 4


def test_a_part_that_fills_the_disk_is_removed(cache: BlobCache) -> None:
    """If the disk becomes full during a transfer, its part is removed."""
    digest, data = content(1)
    store = BlobStore(cache)
    offered(store, digest, SIZE)
    send(store, digest, data, 0, 500)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (550, hard))
    try:
        with pytest.raises(BlobError, match="no room"):
            send(store, digest, data, 500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(cache) == []
