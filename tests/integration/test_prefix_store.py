"""Parts of fits that slots of a node share, with real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from skygrid.worker.evaluation.shared_folder import forget_split
from skygrid.worker.sharing.prefix_store import Made, PrefixStore, keeps_every_bit

FORK = multiprocessing.get_context("fork")
NAME = "0123456789abcdef"


def array(size: int = 1000) -> np.ndarray:
    return np.random.default_rng(size).normal(size=size)


def made(value: Any, exact: bool = True) -> Callable[[], Made]:
    return lambda: Made(value=value, exact=exact)


def store_in(folder: Path, split: int = 0, tick: float = 1.0, **settings: Any) -> PrefixStore:
    """Return a store whose clock advances by `tick` seconds at each reading."""
    clock = map(float, count(step=tick))
    return PrefixStore(str(folder), split, clock=lambda: next(clock), **settings)


def never() -> Made:
    raise AssertionError("it is there")


def total(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.iterdir())


def test_simultaneous_slots_make_a_part_once(tmp_path: Path) -> None:
    """One of several processes that need a part makes it, and all get its bits."""
    gate = FORK.Barrier(4)
    sums = FORK.SimpleQueue()
    ledger = tmp_path / "ledger"
    parts = tmp_path / "parts"
    parts.mkdir()

    def make() -> Made:
        with ledger.open("a") as file:
            file.write("made\n")
        return Made(value=array())

    def slot() -> None:
        gate.wait()
        part, _ = store_in(parts).take(NAME, "fit", make)
        sums.put(part.value.tobytes())

    slots = [FORK.Process(target=slot) for _ in range(4)]
    for process in slots:
        process.start()
    found = {sums.get() for _ in slots}
    for process in slots:
        process.join()
    assert found == {array().tobytes()}
    assert ledger.read_text() == "made\n"


def test_a_part_whose_maker_is_killed_is_made_by_the_next(tmp_path: Path) -> None:
    """After kill -9 of the slot that makes a part, a waiting slot makes it."""
    making = FORK.Event()

    def slow() -> Made:
        making.set()
        signal.pause()
        raise AssertionError("nobody wakes it")

    maker = FORK.Process(target=lambda: store_in(tmp_path).take(NAME, "fit", slow))
    maker.start()
    assert making.wait(60)
    answer = FORK.SimpleQueue()

    def waiter() -> None:
        part, there = store_in(tmp_path).take(NAME, "fit", made(array()))
        answer.put((part.value.tobytes(), there))

    other = FORK.Process(target=waiter)
    other.start()
    assert maker.pid is not None
    os.kill(maker.pid, signal.SIGKILL)
    assert answer.get() == (array().tobytes(), False)
    maker.join()
    other.join()
    assert store_in(tmp_path).take(NAME, "fit", never)[1]


def test_each_fit_has_its_own_copy(tmp_path: Path) -> None:
    """A write of a fit into a part is visible to no other fit."""
    store = store_in(tmp_path)
    store.take(NAME, "fit", made(array()))
    first, _ = store.take(NAME, "fit", never)
    first.value[:] = 0
    second, there = store.take(NAME, "fit", never)
    assert there
    assert second.value.tobytes() == array().tobytes()


def test_the_least_recently_used_part_is_removed(tmp_path: Path) -> None:
    """Beyond the limit, the least recently used parts are removed first."""
    store = store_in(tmp_path, limit=30_000)
    for number in range(3):
        store.take(f"{NAME}{number}", "fit", made(array()))
        os.utime(tmp_path / f"0-step-{NAME}{number}-fit", (number, number))
    store.take(f"{NAME}0", "fit", never)  # now the most recently used one
    store.take(f"{NAME}3", "fit", made(array()))
    assert total(tmp_path) <= 30_000
    assert store.take(f"{NAME}0", "fit", never)[1]
    assert not store.take(f"{NAME}1", "fit", made(array()))[1]


def test_a_missing_folder_is_ignored(tmp_path: Path) -> None:
    """The end of a split is ignored if its folder was removed."""
    folder = tmp_path / "gone"
    forget_split(str(folder), 0)
    assert not folder.exists()


def test_a_part_beyond_the_limit_is_not_kept(tmp_path: Path) -> None:
    """Each fit makes a part above the limit itself, without a wait for others."""
    store = store_in(tmp_path, limit=5_000)
    assert not store.take(NAME, "fit", made(array(10_000)))[1]
    assert total(tmp_path) == 0
    assert store.futile
    held = FORK.Event()
    done = FORK.Event()

    def long() -> Made:
        held.set()
        assert done.wait(60)
        return Made(value=array())

    other = FORK.Process(target=lambda: store_in(tmp_path).take(NAME, "fit", long))
    other.start()
    assert held.wait(60)
    assert not store.take(NAME, "fit", made(array()))[1]  # while the other process makes its part
    done.set()
    other.join()
    assert other.exitcode == 0


@pytest.mark.parametrize(
    ("value", "seconds", "exact"),
    [
        (array(), 0.0001, True),
        (array(), 1.0, False),
        (lambda: None, 1.0, False),
    ],
    ids=["made at once", "not exact", "cannot be copied"],
)
def test_a_part_without_gain_is_not_kept(
    tmp_path: Path, value: Any, seconds: float, exact: bool
) -> None:
    """A part that is quickly made, or whose copy might differ, is not kept."""
    store = store_in(tmp_path, tick=seconds)
    store.take(NAME, "fit", made(value, exact))
    assert total(tmp_path) == 0
    assert store.futile


def test_the_time_of_a_part_is_that_of_the_fit_that_made_it(tmp_path: Path) -> None:
    """The time of a part includes that of the part that it begins with, and not its reading."""

    def longer(store: PrefixStore) -> Callable[[], Made]:
        def make() -> Made:
            store.take("first", "fit", made(array()))
            return Made(value=array())

        return make

    store_in(tmp_path, tick=4.0).take("first", "fit", made(array()))
    second = store_in(tmp_path)
    second.take("second", "fit", longer(second))
    assert second.taken_seconds == 4.0
    third = store_in(tmp_path)
    third.take("second", "fit", never)
    third.take("second", "test", made(array()))
    assert third.taken_seconds == 4.0 + 1.0


def test_an_error_is_raised_for_each_slot(tmp_path: Path) -> None:
    """A part that cannot be made raises for each slot that asks, and leaves no lock."""

    def broken() -> Made:
        raise ValueError("broken")

    store = store_in(tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            store.take(NAME, "fit", broken)


def test_the_end_of_a_split_frees_its_memory(tmp_path: Path) -> None:
    """forget_split removes the parts of one split only."""
    for split in (1, 11):
        store_in(tmp_path, split).take(NAME, "fit", made(array()))
    forget_split(tmp_path, 1)
    assert store_in(tmp_path, 11).take(NAME, "fit", never)[1]
    assert not store_in(tmp_path, 1).take(NAME, "fit", made(array()))[1]


@pytest.mark.parametrize("order", ["C", "F"])
def test_slices_keep_their_strides(tmp_path: Path, order: Any) -> None:
    """A slice of a larger array has the same strides after it is read."""
    whole = np.asarray(array(64).reshape(8, 8), order=order)
    for value in (whole[:, :3], whole[:3], whole.T[2:5], whole[::2, 1:4]):
        store = store_in(tmp_path, value.strides[0] * 100 + value.shape[0])
        store.take(NAME, "fit", made({"inside": [value]}))
        kept = store.take(NAME, "fit", never)[0].value["inside"][0]
        assert kept.strides == value.strides
        assert (kept == value).all()
        assert kept.flags.writeable


def test_only_copies_with_the_same_memory_order_are_exact() -> None:
    """Arrays and sparse matrices are kept; views, frames, objects and the input are not."""
    X = np.ones((4, 6))
    assert keeps_every_bit(X + 1, X)
    assert keeps_every_bit(np.asfortranarray(X + 1), X)
    assert keeps_every_bit(sparse.csr_matrix(X), X)
    assert not keeps_every_bit(X, X)
    assert not keeps_every_bit(X[:2], X)
    assert keeps_every_bit((X + 1)[:, ::2], X)
    assert not keeps_every_bit((X + 1)[::-1], X)
    assert not keeps_every_bit(X.astype(object), X)
    assert not keeps_every_bit(X.tolist(), X)
    matrix = sparse.csr_matrix(X)
    assert not keeps_every_bit(matrix, matrix)
    same_places = sparse.csr_matrix((matrix.data + 1, matrix.indices, matrix.indptr))
    assert not keeps_every_bit(same_places, matrix)
    assert not keeps_every_bit(sparse.coo_matrix(X), X)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_views_of_a_frame_are_distinguished_from_views_of_a_result(kind: Any) -> None:
    """A slice of a computed array is kept; memory of the frame is not."""
    frame = kind(np.ones((6, 4)), **({"columns": list("abcd")} if kind is pd.DataFrame else {}))
    computed = np.ones((6, 4)) * 2
    assert keeps_every_bit(computed[:, :2], frame)
    column = frame[frame.columns[1]].to_numpy()
    assert not keeps_every_bit(column[::2], frame)


def test_arrays_of_a_frame_are_not_kept() -> None:
    """A pandas frame's array, or a part of that, is memory of the frame."""
    frame = pd.DataFrame(np.ones((6, 4)))
    assert not keeps_every_bit(frame.to_numpy()[:, 1:3], frame)
    assert not keeps_every_bit(np.asarray(frame), frame)
    assert not keeps_every_bit(frame[0].to_numpy()[:3], frame[0])
