"""``sys.stdout`` is restored after verbose searches that overlap."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout

import pytest

from skygrid.sklearn_search.progress_output import progress_on_stderr


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_overlapping_searches_restore_stdout(*, first_ends_first: bool) -> None:
    """stdout is restored after the last of two overlapping searches."""
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


def test_a_search_within_a_redirection_restores_it() -> None:
    """A verbose search within another one restores the redirection that it found."""
    text = io.StringIO()
    with progress_on_stderr(1), redirect_stdout(text):
        with progress_on_stderr(1):
            assert sys.stdout is sys.stderr
        assert sys.stdout is text


def test_a_quiet_search_keeps_stdout() -> None:
    """Without ``verbose``, stdout is not redirected."""
    before = sys.stdout
    with progress_on_stderr(0):
        assert sys.stdout is before
