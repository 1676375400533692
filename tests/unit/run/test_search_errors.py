"""Every exception of a search's fit becomes a SearchFailedError."""

from __future__ import annotations

import pytest

from skygrid.errors import SearchFailedError
from skygrid.run.preview import search_errors


def failure_of(error: BaseException) -> str:
    with pytest.raises(SearchFailedError) as caught, search_errors():
        raise error
    assert caught.value.__cause__ is error
    return str(caught.value)


class Mute(Exception):
    """Exception whose text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_messages_have_class_and_notes() -> None:
    """A message begins with the error's class and text; its notes follow."""
    error = ValueError("bad")
    error.add_note("seen on a node")
    assert failure_of(error) == "ValueError: bad\nseen on a node"
    assert failure_of(SystemExit(3)) == "SystemExit: 3"
    assert failure_of(AssertionError()) == "AssertionError"


def test_an_error_without_a_text_is_named() -> None:
    """An error whose text cannot be read is named by its class."""
    assert failure_of(Mute()).startswith("Mute: ")


def test_an_interrupt_of_a_fit_is_a_failure_and_one_of_the_user_is_not() -> None:
    """A KeyboardInterrupt of a fit on a node is a failure; one of the user passes through."""
    of_a_fit = KeyboardInterrupt()
    of_a_fit.add_note("Raised by candidate 0, split 0")
    assert failure_of(of_a_fit).startswith("KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt), search_errors():
        raise KeyboardInterrupt
