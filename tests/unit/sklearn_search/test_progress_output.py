"""``sys.stdout`` is given back however verbose searches overlap."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout

import pytest

from skygrid.sklearn_search.progress_output import progress_on_stderr


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_searches_that_overlap_give_back_what_there_was(*, first_ends_first: bool) -> None:
    """The first search of two threads may end before the second one or after it."""
    before = sys.stdout
    first, second = progress_on_stderr(1), progress_on_stderr(1)
    for search in (first, second):
        search.__enter__()
        assert sys.stdout is sys.stderr
    one, other = (first, second) if first_ends_first else (second, first)
    one.__exit__(None, None, None)
    assert sys.stdout is sys.stderr
    other.__exit__(None, None, None)
    assert sys.stdout is before


def test_a_search_within_a_redirection_gives_that_back() -> None:
    """A verbose search that another one fits ends where it began."""
    text = io.StringIO()
    with progress_on_stderr(1), redirect_stdout(text):
        with progress_on_stderr(1):
            assert sys.stdout is sys.stderr
        assert sys.stdout is text


def test_a_search_that_says_nothing_leaves_stdout_alone() -> None:
    """Without ``verbose`` there is nothing to send elsewhere."""
    before = sys.stdout
    with progress_on_stderr(0):
        assert sys.stdout is before
