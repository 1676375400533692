"""The status page: every process that maps it reads what slots write."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from skygrid.worker.slots.status_page import SlotStatus, StatusPage


@given(
    st.integers(1, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.floats(allow_nan=False),
    st.integers(0, 2),
)
def test_a_running_fit_is_seen_in_every_mapping(
    lease: int, candidate: int, now: float, slot: int
) -> None:
    page = StatusPage(3)
    other = StatusPage(3, os.fdopen(os.dup(page.file.fileno()), "r+b"))
    page.begin(slot, lease, candidate, now)
    expected = [SlotStatus(0, 0.0)] * 3
    expected[slot] = SlotStatus(lease, now, candidate)
    assert [other.read(index) for index in range(3)] == expected
    other.end(slot)
    assert page.read(slot) == SlotStatus(0, 0.0)


def test_a_new_page_says_that_nothing_runs() -> None:
    page = StatusPage(64)
    assert {page.read(slot) for slot in range(64)} == {SlotStatus(0, 0.0)}


def test_a_forked_process_writes_where_its_parent_reads() -> None:
    page = StatusPage(2)
    pid = os.fork()
    if pid == 0:
        page.begin(1, 7, 3, 0.5)
        os._exit(0)
    os.waitpid(pid, 0)
    assert page.read(1) == SlotStatus(7, 0.5, 3)


def test_the_page_has_no_name() -> None:
    page = StatusPage(1)
    assert os.fstat(page.file.fileno()).st_nlink == 0
