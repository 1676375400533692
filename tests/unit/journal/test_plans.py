"""Round plans in a journal: stored when small, compared by digest when large, never copied."""

from __future__ import annotations

import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skygrid.errors import FingerprintError
from skygrid.journal import plans
from skygrid.journal.in_memory import MemoryJournal
from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import RoundPlan

MEGABYTE = 2**20


class Unpicklable:
    """Value that cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


def plan(*values: object) -> RoundPlan:
    splits = [(np.arange(4), np.arange(4, 6))]
    return RoundPlan(round=0, candidates=[{"level": value} for value in values], splits=splits)


def test_a_journal_in_memory_pickles_nothing() -> None:
    """A journal in memory keeps the plan object itself, also with values that cannot be pickled."""
    one = plan(Unpicklable())
    assert MemoryJournal().settle(one) is one


@pytest.mark.parametrize(
    "large", [np.zeros(9_000_000), bytes(70 * MEGABYTE)], ids=["array", "bytes"]
)
def test_a_large_plan_is_not_copied(tmp_path: Path, large: object) -> None:
    """A plan over 64 MB is compared by its digest and not copied in the driver."""
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
        tracemalloc.start()
        try:
            one = plan(large, 1)
            assert journal.settle(one) is one
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * MEGABYTE
    assert (tmp_path / "journal.sqlite").stat().st_size < MEGABYTE


def test_a_large_plan_that_differs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed search whose plan is too large to be stored is refused if the plan differs."""
    monkeypatch.setattr(plans, "STORED_BYTES", 1000)
    large = np.arange(1000)
    for _ in range(2):
        with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
            journal.settle(plan(large))
    with (
        closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal,
        pytest.raises(FingerprintError, match="round 0"),
    ):
        journal.settle(plan(large + 1))


def test_a_plan_up_to_the_limit_is_stored(tmp_path: Path) -> None:
    """A stored plan is read back with its arrays bit for bit."""
    value = np.random.default_rng(0).random((300, 1000))
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
        journal.settle(plan(value, np.asfortranarray(value)))
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
        found = journal.settle(plan("another"))
    first, second = (candidate["level"] for candidate in found.candidates)
    assert first.tobytes() == second.tobytes() == value.tobytes()
    assert (first.flags.c_contiguous, second.flags.f_contiguous) == (True, True)
    assert first.flags.writeable
