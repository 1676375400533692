"""Warnings that fits issued on their nodes: counted, and issued here once each."""

from __future__ import annotations

import functools
import sys
import warnings
from collections import Counter
from collections.abc import Iterable

from skygrid.plan.records import Outcome
from skygrid.worker.wire.messages import FitResult, WarningNote


class WarningCounter:
    """Counts the warnings of outcomes."""

    def __init__(self) -> None:
        self._counts: Counter[WarningNote] = Counter()

    def add(self, outcomes: Iterable[Outcome | FitResult]) -> None:
        """Count what these outcomes brought."""
        for outcome in outcomes:
            if outcome.warnings:
                self._counts.update(outcome.warnings)

    def counted(self) -> list[tuple[str, str, int]]:
        """(category, message, count), the most frequent first."""
        return [
            (note.category.partition(":")[2], note.message, count)
            for note, count in self._counts.most_common()
        ]

    def issue(self) -> None:
        """Issue each warning once, from where it came.

        The filters had their say in the fit, where the warning's module is known and filters of
        the estimator's own are in force; asked again here, they could only contradict it. They
        are passed by, not replaced: they are those of all threads of the process.
        """
        for note in self._counts:
            warning = _warning_of(note)
            warnings.showwarning(warning, type(warning), note.filename, note.lineno)


def _warning_of(note: WarningNote) -> Warning:
    """Make the warning again, or a `UserWarning` that names its class where a text cannot make one.

    A class whose constructor wants something else than a text is made without its constructor.
    """
    category = category_of(note.category)
    for make in (category, functools.partial(Warning.__new__, category)):
        try:
            warning = make(note.message)
            if type(warning) is category and str(warning) == note.message:
                return warning
        except Exception:  # noqa: BLE001 (whatever a class says to a text it did not expect)
            continue
    return UserWarning(f"{note.category.partition(':')[2]}: {note.message}")


def category_of(name: str) -> type[Warning]:
    """The class of a warning, by ``module:qualified name``, if it is loaded here.

    Returns
    -------
    category : type
        `UserWarning` for a class that is not.
    """
    module, _, qualified = name.partition(":")
    found: object = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return UserWarning
