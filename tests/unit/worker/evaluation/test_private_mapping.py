"""Reuse of a private mapping of a file."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skygrid.worker.evaluation import private_mapping
from skygrid.worker.evaluation.private_mapping import PrivateMapping

N = 50_000
"""Numbers in the file: a hundred pages, the last one partly used."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "numbers"
    np.arange(N, dtype=float).tofile(path)
    return path


@pytest.fixture
def mapping(path: Path) -> PrivateMapping:
    with path.open("rb") as file:
        return PrivateMapping(file)


def numbers(mapping: PrivateMapping) -> Any:
    return mapping.array((N,), float, 0)


def test_a_mapping_that_was_only_read_is_pristine(mapping: PrivateMapping) -> None:
    """After an array was read completely and released, its memory can be used again."""
    assert mapping.pristine
    assert numbers(mapping).sum() == N * (N - 1) / 2
    assert mapping.pristine
    assert mapping.head(8) == bytes(8)
    assert mapping.pristine


@pytest.mark.parametrize("place", [0, 700, N // 2, N - 1])
def test_a_single_write_is_noticed(mapping: PrivateMapping, place: int) -> None:
    """A write of the same value is noticed at any place."""
    rows = numbers(mapping)
    rows[place] = place
    del rows
    assert not mapping.pristine


def test_writes_do_not_reach_the_file(mapping: PrivateMapping, path: Path) -> None:
    numbers(mapping)[:] = -1
    assert np.fromfile(path).sum() == N * (N - 1) / 2


@pytest.mark.parametrize(
    "keep",
    [
        lambda rows: rows,
        lambda rows: rows[10:20],
        lambda rows: rows.reshape(2, -1).T,
        lambda rows: memoryview(rows)[3:],
        lambda rows: rows.view(np.uint8),
        lambda rows: [rows],
        lambda rows: rows.flat,
        lambda rows: rows.ctypes.data_as,
    ],
    ids=["array", "slice", "transposed", "memoryview", "bytes", "in a list", "iterator", "ctypes"],
)
def test_a_reference_to_the_array_is_noticed(
    mapping: PrivateMapping, keep: Callable[[Any], Any]
) -> None:
    """An array that a fit has kept, or an object made from it, prevents reuse."""
    kept = keep(numbers(mapping))
    assert not mapping.pristine
    del kept
    assert mapping.pristine


def test_an_array_in_a_cycle_counts_until_it_is_collected(mapping: PrivateMapping) -> None:
    cycle: list[Any] = [numbers(mapping)]
    cycle.append(cycle)
    del cycle
    assert not mapping.pristine
    gc.collect()
    assert mapping.pristine


def test_writes_of_a_forked_child_are_its_own(mapping: PrivateMapping) -> None:
    """A fit that forks leaves the memory of its parent unchanged."""
    pid = os.fork()
    if not pid:
        numbers(mapping)[:] = -1
        os._exit(0 if not mapping.pristine else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert mapping.pristine
    assert numbers(mapping)[7] == 7


@pytest.mark.parametrize("content", [None, b"", bytes(80)], ids=["missing", "empty", "short"])
def test_without_a_page_map_no_mapping_is_pristine(
    mapping: PrivateMapping, content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "pagemap"
    if content is not None:
        said.write_bytes(content)
    monkeypatch.setattr(private_mapping, "PAGEMAP", str(said))
    assert not mapping.pristine
