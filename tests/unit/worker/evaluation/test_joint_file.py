"""A file that several real processes write together."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skygrid.worker.evaluation.joint_file import ledger_bytes, write_together

FORK = multiprocessing.get_context("fork")
PORTIONS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(PORTIONS + ledger_bytes(PORTIONS)))
    return path


@pytest.fixture
def file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def letter(number: int) -> bytes:
    return bytes([ord("a") + number])


ALL = b"".join(map(letter, range(PORTIONS)))


def test_one_process_writes_the_whole_file(file: int) -> None:
    """Each portion is written once and in order; the total of the seconds stays in the file."""
    written: list[int] = []

    def write(number: int) -> float:
        written.append(number)
        os.pwrite(file, letter(number), number)
        return number / 2

    assert write_together(file, PORTIONS, PORTIONS, write) == pytest.approx(190 / 2)
    assert written == list(range(PORTIONS))
    assert os.pread(file, PORTIONS, 0) == ALL
    assert write_together(file, PORTIONS, PORTIONS, write) == pytest.approx(190 / 2)
    assert len(written) == PORTIONS


def test_no_portions_are_written_at_once(file: int) -> None:
    assert write_together(file, 0, 0, lambda number: 1.0) == 0


def test_all_portions_are_written_when_a_process_returns(path: Path) -> None:
    """None of four processes returns before the last portion of the others is written."""
    at_once, found = FORK.Barrier(4), FORK.SimpleQueue()

    def helper() -> None:
        descriptor = os.open(path, os.O_RDWR)
        mine = []

        def write(number: int) -> float:
            if not mine:
                at_once.wait(60)
            mine.append(number)
            os.pwrite(descriptor, letter(number), number)
            return 1.0

        seconds = write_together(descriptor, PORTIONS, PORTIONS, write)
        found.put((seconds, os.pread(descriptor, PORTIONS, 0), mine))

    helpers = [FORK.Process(target=helper) for _ in range(4)]
    for process in helpers:
        process.start()
    answers: list[Any] = [found.get() for _ in helpers]
    for process in helpers:
        process.join()
    assert [answer[:2] for answer in answers] == 4 * [(PORTIONS, ALL)]
    assert sorted(number for _, _, mine in answers for number in mine) == list(range(PORTIONS))


def test_the_portion_of_a_killed_process_is_written_by_another(path: Path, file: int) -> None:
    """After kill -9 in a portion, a waiting process writes that portion and no other again."""
    stuck = FORK.Event()

    def helper() -> None:
        descriptor = os.open(path, os.O_RDWR)

        def write(number: int) -> float:
            if number == 2:
                stuck.set()
                signal.pause()
            os.pwrite(descriptor, letter(number), number)
            return 1.0

        write_together(descriptor, PORTIONS, PORTIONS, write)

    process = FORK.Process(target=helper)
    process.start()
    assert stuck.wait(60)
    written: list[int] = []

    def write(number: int) -> float:
        written.append(number)
        os.pwrite(file, letter(number), number)
        if number == PORTIONS - 1:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        return 1.0

    assert write_together(file, PORTIONS, PORTIONS, write) == PORTIONS
    process.join()
    assert written == [*range(3, PORTIONS), 2]
    assert os.pread(file, PORTIONS, 0) == ALL


def test_a_failed_portion_is_free_again(file: int) -> None:
    """A failed portion raises its error, and the next process can write it."""

    def full(number: int) -> float:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        write_together(file, PORTIONS, PORTIONS, full)
    written: list[int] = []
    write_together(file, PORTIONS, PORTIONS, lambda number: written.append(number) or 1.0)
    assert written == list(range(PORTIONS))
