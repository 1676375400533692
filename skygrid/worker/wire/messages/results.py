"""Results of fits, which slots report and the journal keeps."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from .exceptions import MOST_EXCEPTIONS, ExceptionRecord
from .fields import MOST_IN_HAND, Count, Line, Seconds

MOST_DIGITS = 10_000
"""Most characters of a `TypedNumber`: the time to read a fraction grows with their square."""


class TypedNumber(msgspec.Struct, frozen=True, array_like=True):
    """A number other than a Python float, with its type and every bit."""

    kind: str
    """int, bool, complex, decimal, fraction, or a NumPy dtype such as ``<f4``."""

    text: Annotated[str, msgspec.Meta(max_length=MOST_DIGITS)]
    """Hexadecimal digits for int and fraction, hexadecimal raw bytes for complex and NumPy scalars,
    Python's own text for the others."""


MOST_WARNINGS = 50_000
"""Most warnings in one result. Fewer already reach the limit in bytes, unless they are empty."""

Scores = float | TypedNumber | dict[str, float | TypedNumber]
"""One score, or one for each name of a multimetric scorer."""


class WarningNote(msgspec.Struct, frozen=True, array_like=True):
    """A warning that a fit raised."""

    category: str
    """``module:qualified name`` of the warning's class."""

    message: str
    filename: str
    lineno: Line


class FitFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Facts about one fit, reported by a slot and recorded in the journal.

    A new field with a default travels and is recorded without further code.
    """

    test_scores: Scores | None = None
    """None if the fit has no score; the driver then uses the error score."""

    train_scores: Scores | None = None
    n_test_samples: Count = 0
    fit_seconds: Seconds = 0.0
    score_seconds: Seconds = 0.0
    busy_seconds: Seconds = 0.0
    """Seconds that the slot spent. `fit_seconds` is the time of a separate fit, which is longer if
    another fit did part of the work."""

    prefix_kept: bool = False
    """True if first steps of its pipeline come from another fit on this split."""

    fit_error: str | None = None
    """Text of the traceback, or the reason why the fit was given up."""

    warnings: Annotated[tuple[WarningNote, ...], msgspec.Meta(max_length=MOST_WARNINGS)] = ()


DURATIONS = tuple(field.name for field in msgspec.structs.fields(FitFacts) if field.type == Seconds)
"""Fields of `FitFacts` that are durations."""


class FitResult(FitFacts, frozen=True, kw_only=True, array_like=True, gc=False):
    """Result of one fit, reported by its slot."""

    lease: Count
    candidate: Count
    slot: Count
    status: Literal["scored", "failed", "raised"]
    """"failed": `fit` raised. "raised": code around `fit` raised, or the error score is "raise"."""

    exception: Annotated[tuple[ExceptionRecord, ...], msgspec.Meta(max_length=MOST_EXCEPTIONS)] = ()
    """If raised: the exception, followed by all exceptions that it refers to."""

    answered: bool = False
    """True if no fit ran for it: the lease's last result without this flag comes from the fit that
    answers this candidate too."""


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """Results of fits that ended."""

    round: int
    results: Annotated[list[FitResult], msgspec.Meta(max_length=MOST_IN_HAND)]
