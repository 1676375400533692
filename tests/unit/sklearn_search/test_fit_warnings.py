"""Warnings of fits are issued on the driver as on the node."""

from __future__ import annotations

import warnings

import pytest

from skygrid.sklearn_search.warnings import WarningCounter
from skygrid.worker.wire.messages.results import FitResult, WarningNote


class TwoArguments(UserWarning):
    """Warning whose constructor takes two arguments."""

    def __init__(self, name: str, value: int) -> None:
        super().__init__(f"{name} is {value}")


class NoArguments(RuntimeWarning):
    """Warning whose constructor takes no arguments."""

    def __init__(self) -> None:
        super().__init__("nothing to say")


class KeywordsOnly(UserWarning):
    """Warning that passes no arguments to its base."""

    def __init__(self, *, name: str) -> None:
        self.name = name


class TextOfItsOwn(UserWarning):
    """Warning with a text from its attributes."""

    def __init__(self, name: str, value: int) -> None:
        self.name, self.value = name, value

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


def issued(warning: Warning) -> Warning:
    """Return the driver's warning for one that a fit issued."""
    kind = type(warning)
    note = WarningNote(f"{kind.__module__}:{kind.__qualname__}", str(warning), "fit.py", 7)
    counter = WarningCounter()
    counter.add([_result(note)])
    with warnings.catch_warnings(record=True) as said:
        counter.issue()
    (one,) = said
    assert (one.filename, one.lineno, one.category) == ("fit.py", 7, type(one.message))
    assert isinstance(one.message, Warning)
    return one.message


def _result(note: WarningNote) -> FitResult:
    return FitResult(
        lease=1,
        candidate=0,
        slot=0,
        status="scored",
        test_scores=1.0,
        train_scores=None,
        n_test_samples=1,
        fit_seconds=0.0,
        score_seconds=0.0,
        warnings=(note,),
    )


@pytest.mark.parametrize(
    "warning",
    [UserWarning("careful"), TwoArguments("x", 3), NoArguments(), KeywordsOnly(name="x")],
    ids=lambda warning: type(warning).__name__,
)
def test_a_warning_keeps_its_class(warning: Warning) -> None:
    """A warning keeps its class and text, with any constructor."""
    again = issued(warning)
    assert (type(again), str(again)) == (type(warning), str(warning))


def test_a_text_of_attributes_names_the_class() -> None:
    """A warning whose text needs its attributes becomes a UserWarning with class and text."""
    again = issued(TextOfItsOwn("x", 3))
    assert (type(again), str(again)) == (UserWarning, "TextOfItsOwn: x=3")
