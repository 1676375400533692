"""Texts of errors."""

from __future__ import annotations

import pytest

from skygrid.errors import reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("the disk is full"), "the disk is full"),
        (TimeoutError(), "no answer in time"),
        (EOFError(), "EOFError"),
        (ConnectionResetError(""), "ConnectionResetError"),
    ],
)
def test_a_reason_is_never_empty(error: Exception, text: str) -> None:
    """An error without a text is named by what is known of it."""
    assert reason(error) == text
