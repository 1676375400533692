"""Samples of a large X that slots of a node share, with real processes and files."""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection._validation import _safe_split

from skygrid.worker.evaluation import shared_folder, shared_samples
from skygrid.worker.evaluation.contents import RoundTasks, SearchData, SearchWork
from skygrid.worker.evaluation.evaluator import Evaluator
from skygrid.worker.evaluation.shared_folder import forget_split
from skygrid.worker.evaluation.shared_samples import (
    SharedSamples,
    can_share,
    samples_bytes,
    share_samples,
)
from skygrid.worker.machine import machine

FORK = multiprocessing.get_context("fork")
PLAIN = BaseEstimator()


def numbers(shape: tuple[int, ...], kind: str = "<f8") -> np.ndarray:
    return np.random.default_rng(0).normal(scale=100, size=shape).astype(kind)


def halves(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng(1).permutation(n)
    first, second = order[: n // 2], order[n // 2 :]
    return [(first, second), (second.copy(), first.copy())]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that counts as shared memory, by its path."""
    monkeypatch.setattr(shared_folder, "MEMORY", tmp_path)
    taken = tmp_path / "shared"
    taken.mkdir()
    return taken


def shared(X: Any, splits: Any, folder: Path, slots: int = 2) -> SharedSamples:
    found = share_samples(X, splits, str(folder), slots)
    assert found is not None
    return found


def taken(X: Any, *indices: Any, y: Any = None) -> Any:
    """Return the rows of X as scikit-learn takes them."""
    return _safe_split(PLAIN, X, y, *indices)[0]


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix != ".lock")


def is_own_copy(rows: Any) -> bool:
    return rows.base is None


def same(ours: Any, theirs: Any) -> bool:
    """Return whether an estimator cannot tell two arrays apart."""
    return bool(
        type(ours) is type(theirs)
        and (ours.dtype, ours.shape, ours.strides) == (theirs.dtype, theirs.shape, theirs.strides)
        and ours.flags.writeable == theirs.flags.writeable
        and ours.tobytes() == theirs.tobytes()
    )


@pytest.mark.sklearn_versions
@pytest.mark.parametrize("portion", [1, 200, 2**20])
@pytest.mark.parametrize(
    "X",
    [
        numbers((50, 3)),
        np.asfortranarray(numbers((50, 3))),
        numbers((50,)),
        numbers((50, 1)),
        numbers((50, 50)),
        numbers((50, 2, 4)),
        numbers((50, 3), "<f2"),
        numbers((50, 3), ">f8"),
        numbers((50, 3), "<c16"),
        numbers((50, 3), "<u2"),
        numbers((50, 3)) > 0,
    ],
    ids=lambda X: f"{X.dtype.str}{X.shape}{'F' if X.flags.f_contiguous else 'C'}",
)
def test_samples_equal_those_of_scikit_learn(
    X: np.ndarray, portion: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared rows have scikit-learn's bits and layout, when written and when read again."""
    monkeypatch.setattr(shared_samples, "PORTION_BYTES", portion)
    monkeypatch.setattr(shared_samples, "LIMIT_FACTOR", 3)
    splits = [*halves(50), (np.arange(-5, 5), np.array([7, 7, 7]))]
    ours = shared(X, splits, folder)
    for _ in range(2):
        for split, (train, test) in enumerate(splits):
            for indices in ((train,), (test, train)):
                rows = taken(ours, *indices)
                assert same(rows, taken(X, *indices))
                assert rows.ctypes.data % 4096 == 16  # like allocated memory
            assert files(folder)[-2:] == [f"{split}-samples-test", f"{split}-samples-train"]


@pytest.mark.sklearn_versions
@pytest.mark.parametrize(
    "y",
    [
        np.arange(50),
        np.array(list("ab") * 25, dtype=object),
        numbers((50, 2)),
        np.asfortranarray(numbers((50, 2))),
        list(range(50)),
        pd.Series(range(50), index=range(7, 57)),
        pd.DataFrame(numbers((50, 2))),
        sparse.csr_matrix(np.eye(50)),
    ],
    ids=["numbers", "objects", "columns", "fortran", "list", "series", "frame", "sparse"],
)
def test_labels_are_left_to_scikit_learn(y: Any, folder: Path) -> None:
    """Labels of any kind are the same as without sharing."""
    X, splits = numbers((50, 3)), halves(50)
    train, test = splits[0]
    for indices in ((train,), (test, train)):
        _, ours = _safe_split(PLAIN, shared(X, splits, folder), y, *indices)
        _, theirs = _safe_split(PLAIN, X, y, *indices)
        assert type(ours) is type(theirs)
        assert repr(ours) == repr(theirs)
    assert files(folder) == ["0-samples-test", "0-samples-train"]


def test_writes_of_a_fit_are_private(folder: Path) -> None:
    """Each fit may write into its samples, and X is unchanged."""
    X, splits = numbers((50, 3)), halves(50)
    ours, before, train = shared(X, splits, folder), X.copy(), splits[0][0]
    first = taken(ours, train)
    first[:] = 0
    second = taken(ours, train)
    second[:] = 1
    assert taken(ours, train).tobytes() == before[train].tobytes()
    assert not first.any()
    assert X.tobytes() == before.tobytes()


def test_unchanged_memory_is_used_again(folder: Path) -> None:
    """A mapping is used again unless a fit has written into it."""
    X, splits = numbers((5000, 3)), halves(5000)
    ours, train = shared(X, splits, folder), splits[0][0]

    def maps() -> int:
        return Path("/proc/self/maps").read_text().count("0-samples-train")

    rows = taken(ours, train)
    first, total = rows.ctypes.data, rows.sum()
    del rows
    rows = taken(ours, train)
    assert (rows.ctypes.data, rows.sum()) == (first, total)
    assert taken(ours, train).ctypes.data != first, "somebody has the first"
    rows[4, 2] += 1
    del rows
    assert taken(ours, train).sum() == total
    assert maps() == 1


def test_simultaneous_slots_write_samples_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several processes that need the same samples, each writes some portions once."""
    monkeypatch.setattr(shared_samples, "PORTION_BYTES", 1000)
    X, splits = numbers((5000, 3)), halves(5000)
    ours = shared(X, splits, folder)
    write, all_at_it = ours.samples._write, FORK.Barrier(4)
    found, parts = FORK.SimpleQueue(), FORK.SimpleQueue()

    def slot() -> None:
        mine = []

        def noted(file: int, indices: Any, number: int) -> float:
            if not mine:
                all_at_it.wait(60)
            mine.append(number)
            return write(file, indices, number)

        ours.samples._write = noted  # type: ignore[method-assign]
        found.put(taken(ours, splits[0][0]).tobytes())
        parts.put(mine)

    slots = [FORK.Process(target=slot) for _ in range(4)]
    for process in slots:
        process.start()
    assert {found.get() for _ in slots} == {X[splits[0][0]].tobytes()}
    taken_parts = sorted(number for _ in slots for number in parts.get())
    for process in slots:
        process.join()
    assert taken_parts == list(range(-(-2500 // (1000 // 24))))
    assert files(folder) == ["0-samples-train"]


def test_samples_of_a_killed_slot_are_completed_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9 of a slot that writes samples, another slot writes the rest only."""
    monkeypatch.setattr(shared_samples, "PORTION_BYTES", 6000)
    X, splits = numbers((5000, 3)), halves(5000)
    ours, halfway = shared(X, splits, folder), FORK.Event()
    write, numbers_taken = ours.samples._write, []

    def stuck(file: int, indices: Any, number: int) -> float:
        if number == 3:
            os.pwrite(file, b"half of it", 20_000)
            halfway.set()
            signal.pause()
        return write(file, indices, number)

    def noted(file: int, indices: Any, number: int) -> float:
        numbers_taken.append(number)
        if number == 9:  # all the rest are written; the maker's portion is free after its death
            assert maker.pid is not None
            os.kill(maker.pid, signal.SIGKILL)
        return write(file, indices, number)

    ours.samples._write = stuck  # type: ignore[method-assign]
    maker = FORK.Process(target=lambda: taken(ours, splits[0][0]))
    maker.start()
    assert halfway.wait(60)
    assert files(folder) == ["0-samples-train.new"]
    ours.samples._write = noted  # type: ignore[method-assign]
    assert taken(ours, splits[0][0]).tobytes() == X[splits[0][0]].tobytes()
    maker.join()
    assert sorted(numbers_taken) == list(range(3, 10))
    assert files(folder) == ["0-samples-train"]


def test_a_child_of_the_maker_blocks_no_slot(folder: Path) -> None:
    """A process that was forked while samples were written does not block other slots."""
    X, splits = numbers((5000, 3)), halves(5000)
    ours, answer = shared(X, splits, folder), FORK.SimpleQueue()
    write, children = ours.samples._write, []

    def forking(file: int, indices: Any, number: int) -> float:
        children.append(FORK.Process(target=signal.pause))
        children[0].start()
        return write(file, indices, number)

    ours.samples._write = forking  # type: ignore[method-assign]
    taken(ours, splits[0][0])
    (folder / "0-samples-train").unlink()
    ours.samples._write = write  # type: ignore[method-assign]
    waiter = FORK.Process(target=lambda: answer.put(taken(ours, splits[0][0]).tobytes()))
    waiter.start()
    assert answer.get() == X[splits[0][0]].tobytes()
    waiter.join()
    children[0].kill()
    children[0].join()


def test_the_end_of_a_split_frees_its_samples(folder: Path) -> None:
    """The files of one split are removed; a fit keeps its mapped samples."""
    X, splits = numbers((50, 3)), halves(50)
    ours = shared(X, splits, folder)
    rows = taken(ours, splits[0][0])
    other = taken(ours, splits[1][0])
    forget_split(folder, 0)
    assert files(folder) == ["1-samples-train"]
    assert rows.tobytes() == X[splits[0][0]].tobytes()
    assert other.tobytes() == X[splits[1][0]].tobytes()


class TestMemory:
    def test_unused_samples_are_removed_first(self, folder: Path) -> None:
        """Samples of one split are removed before those of the next are written, unless in use."""
        X, splits = numbers((50, 3)), halves(50)
        ours = shared(X, splits, folder)
        rows = taken(ours, splits[0][0])
        taken(ours, splits[1][0])
        assert files(folder) == ["0-samples-train", "1-samples-train"]
        del rows
        gc.collect()
        taken(ours, splits[1][1])
        assert files(folder) == ["1-samples-test", "1-samples-train"]

    def test_samples_of_another_slot_stay(self, folder: Path) -> None:
        """Samples in use by another process stay until that process ends."""
        X, splits = numbers((50, 3)), halves(50)
        ours, has_them = shared(X, splits, folder), FORK.Event()

        def fit() -> None:
            rows = taken(ours, splits[0][0])
            has_them.set()
            signal.pause()
            del rows

        slot = FORK.Process(target=fit)
        slot.start()
        assert has_them.wait(60)
        taken(ours, splits[1][0])
        assert files(folder) == ["0-samples-train", "1-samples-train"]
        assert slot.pid is not None
        os.kill(slot.pid, signal.SIGKILL)
        slot.join()
        taken(ours, splits[1][1])
        assert files(folder) == ["1-samples-test", "1-samples-train"]

    def test_shared_samples_are_limited(self, folder: Path) -> None:
        """Shared samples take at most the memory of two splits."""
        X = numbers((1000, 10))
        splits = [(train.copy(), test.copy()) for train, test in halves(1000) * 5]
        ours = shared(X, splits, folder)
        held = []
        for train, test in splits:
            held += [taken(ours, train), taken(ours, test, train)]
            assert held[-2].tobytes() == X[train].tobytes()
            used = sum(entry.stat().st_size for entry in folder.iterdir())
            assert used <= 2 * X.nbytes + 4 * (16 + 8)
        assert [is_own_copy(rows) for rows in held] == 4 * [False] + 16 * [True]

    @pytest.mark.parametrize("scarce", ["memory", "storage"])
    def test_without_space_each_fit_has_a_copy(
        self, scarce: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without free memory or storage nothing is shared until there is some."""
        X, splits = numbers((50, 3)), halves(50)
        ours = shared(X, splits, folder)
        with monkeypatch.context() as short:
            if scarce == "memory":
                short.setattr(machine, "available_bytes", lambda: 100)
            else:
                full = SimpleNamespace(f_bavail=100, f_frsize=1)
                short.setattr(os, "statvfs", lambda _: full)
            rows = taken(ours, splits[0][0])
        assert is_own_copy(rows)
        assert files(folder) == []
        assert not is_own_copy(taken(ours, splits[0][0]))

    def test_storage_that_becomes_full(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that does not fit is removed, and the fit gets a copy."""
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("a small disk needs root that may mount a tmpfs")
        try:
            X, splits = numbers((50_000, 3)), halves(50_000)
            roomy = SimpleNamespace(f_bavail=10**9, f_frsize=1)
            monkeypatch.setattr(os, "statvfs", lambda _: roomy)
            rows = taken(shared(X, splits, folder), splits[0][0])
            assert same(rows, taken(X, splits[0][0]))
            assert is_own_copy(rows)
            assert files(folder) == []
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)

    @pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
    def test_samples_that_another_slot_removes_are_made_again(
        self, moment: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that is removed before a slot has mapped it is made again, not copied."""
        X, splits = numbers((50, 3)), halves(50)
        ours, others = (shared(X, splits, folder) for _ in range(2))
        make, lock = ours.samples._make, fcntl.flock
        waiting = []  # steps of the other slot that are still to come

        def go_on() -> None:
            while waiting:
                waiting.pop()()

        def made(path: Path, indices: Any) -> bool:
            found = make(path, indices)
            if moment == "before it is opened":
                go_on()
            return found

        def locked(file: Any, operation: int) -> None:
            if moment == "before it is locked" and operation == fcntl.LOCK_SH:
                go_on()
            lock(file, operation)

        if moment == "before it is locked":
            taken(others, splits[0][0])
        waiting.append(lambda: taken(others, splits[1][0]))
        monkeypatch.setattr(ours.samples, "_make", made)
        monkeypatch.setattr(fcntl, "flock", locked)
        rows = taken(ours, splits[0][0])
        assert not waiting
        assert same(rows, taken(X, splits[0][0]))
        assert not is_own_copy(rows)
        assert files(folder) == ["0-samples-train", "1-samples-train"]

    @pytest.mark.parametrize("before", [True, False], ids=["before a fit", "between fits"])
    def test_a_removed_folder(self, before: bool, folder: Path) -> None:
        """If the folder was removed, fits use mapped samples or copies."""
        X, splits = numbers((50, 3)), halves(50)
        ours = shared(X, splits, folder)
        if not before:
            taken(ours, splits[0][0])
        shutil.rmtree(folder)
        for indices in (splits[0][0], splits[1][0]):
            rows = taken(ours, indices)
            assert rows.tobytes() == X[indices].tobytes()
        assert is_own_copy(rows)

    @pytest.mark.parametrize(
        ("memory", "lengths", "own"),
        [
            (10**9, (0.0, 0.0), False),
            (10**9, (1e6, 1e6), True),
            (10**9, (0.0, 1e6), False),
            (1000, (1e6, 1e6), False),
        ],
        ids=["short fits", "long fits", "one held up", "long fits and little memory"],
    )
    def test_long_fits_have_copies_if_memory_is_plenty(
        self,
        memory: int,
        lengths: tuple[float, float],
        own: bool,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """After fits that took far longer than their samples, the next one gets a copy."""
        monkeypatch.setattr(machine, "memory_bytes", lambda: memory)
        X, splits = numbers((50, 3)), halves(50)
        ours = shared(X, splits, folder)
        taken(ours, splits[0][0])
        for seconds in lengths:
            ours.samples.remember_length(seconds)
        rows = taken(ours, splits[0][0])
        assert rows.tobytes() == X[splits[0][0]].tobytes()
        assert is_own_copy(rows) == own

    def test_fits_that_wait_for_a_core_share_samples(self, folder: Path) -> None:
        """A fit that takes long only because its process waits is not a long one."""
        X, splits = numbers((20_000, 50)), halves(20_000)
        ours = shared(X, splits, folder)
        tasks = RoundTasks(candidates=[{}], splits=splits)
        data = SearchData(X=X, y=None, fit_params={}, score_params={})
        work = SearchWork(
            estimator=WaitingEstimator(),
            scorer=WaitingEstimator.score,
            return_train_score=False,
            error_score="raise",
            verbose=0,
        )
        evaluator = Evaluator(data, work, tasks, ours)
        for _ in range(2):
            assert evaluator.evaluate(1, 0, 0, 0).status == "scored"
            evaluator.remember_length()
        assert not is_own_copy(taken(ours, splits[0][0]))


class WaitingEstimator(BaseEstimator):
    """Waits in `fit` many times longer than any X of a test takes to be read."""

    def fit(self, X: Any, y: Any = None) -> WaitingEstimator:
        time.sleep(0.3)
        return self

    def score(self, X: Any, y: Any = None) -> float:
        return 0.5


class TestNotShared:
    @pytest.mark.parametrize(
        "X",
        [
            numbers((50, 3)).astype(object),
            np.array([["a", "b"]] * 5),
            numbers((50, 6))[:, ::2],
            np.asfortranarray(numbers((50, 2, 4))),
            np.zeros((50, 0)),
            np.ma.masked_array(numbers((50, 3))),
            [[1.0, 2.0]] * 5,
            None,
        ],
        ids=["object", "text", "slice", "three axes", "empty", "masked", "list", "none"],
    )
    def test_x_that_is_no_plain_array_of_numbers(self, X: Any, folder: Path) -> None:
        """An X whose layout a file cannot hold is not shared."""
        assert not can_share(X)
        assert share_samples(X, halves(50), str(folder), 2) is None

    def test_on_a_disk(self, tmp_path: Path) -> None:
        """Files on a disk are not used, because copies are faster."""
        assert share_samples(numbers((50, 3)), halves(50), str(tmp_path), 2) is None

    @pytest.mark.sklearn_versions
    @pytest.mark.parametrize(
        "indices",
        [
            np.arange(50) < 20,
            list(range(20)),
            np.array([], dtype=int),
            np.array([1, 50]),
            np.array([1, -51]),
            np.array([[1, 2]]),
        ],
        ids=["mask", "list", "none", "beyond", "before", "two axes"],
    )
    def test_indices_that_are_no_valid_positions(self, indices: Any, folder: Path) -> None:
        """Masks, lists and invalid positions go to scikit-learn, with its own errors."""
        X = numbers((50, 3))
        ours = shared(X, [(indices, indices[:1])], folder)
        assert _answer(lambda: taken(ours, indices)) == _answer(lambda: taken(X, indices))
        assert files(folder) == []
        assert samples_bytes(X, [(indices, indices)]) == 0

    def test_other_indices_than_those_of_a_split_are_copied(self, folder: Path) -> None:
        """Samples are found by the index arrays of the plan; other indices give copies."""
        X, splits = numbers((50, 3)), halves(50)
        ours = shared(X, splits, folder)
        for key in (splits[0][0].copy(), 3, slice(2, 9), (slice(None), 1), ..., [1, 2]):
            assert type(ours[key]) is type(X[key])
            assert ours[key].tobytes() == X[key].tobytes()
        assert type(np.take(ours, splits[0][0], axis=0)) is np.ndarray
        assert files(folder) == []

    @pytest.mark.sklearn_versions
    def test_a_kernel(self, folder: Path) -> None:
        """For a kernel scikit-learn also selects columns, and raises its own error for other X."""
        X, splits = numbers((50, 50)), halves(50)
        kernel = KernelRidge(kernel="precomputed")
        train, test = splits[0]
        for indices in ((train,), (test, train)):
            rows = _safe_split(kernel, shared(X, splits, folder), None, *indices)[0]
            assert same(rows, _safe_split(kernel, X, None, *indices)[0])
        for X in (numbers((50, 3)), shared(numbers((50, 3)), splits, folder)):
            with pytest.raises(ValueError, match="square kernel"):
                _safe_split(kernel, X, None, train)
        assert files(folder) == []


def _answer(ask: Callable[[], Any]) -> tuple[Any, ...]:
    """Return the result's properties, or the error."""
    try:
        rows = ask()
    except Exception as error:
        return type(error), str(error)
    return type(rows), rows.shape, rows.strides, rows.tobytes()


def test_a_mapped_file_is_shared_like_any_array(folder: Path, tmp_path: Path) -> None:
    """An X in a mapped file gives the same rows, as private arrays."""
    np.save(tmp_path / "X.npy", numbers((50, 3)))
    X, splits = np.load(tmp_path / "X.npy", mmap_mode="r"), halves(50)
    for indices in ((splits[0][0],), (splits[0][1], splits[0][0])):
        assert same(taken(shared(X, splits, folder), *indices), taken(X, *indices))
    assert files(folder) == ["0-samples-test", "0-samples-train"]


def test_the_size_of_samples_is_that_of_the_largest_training_set() -> None:
    """The size is that of the rows in the longest array of training indices."""
    X = numbers((50, 3))
    splits = [(np.arange(10), np.arange(40)), (np.arange(30), np.arange(5))]
    assert samples_bytes(X, splits) == 30 * 3 * 8
