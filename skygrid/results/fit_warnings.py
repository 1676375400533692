"""Warnings that fits issued on their nodes: counted, and issued here once each."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterable

from skygrid.plan.records import Outcome
from skygrid.worker.messages import WarningNote


class WarningCounter:
    """Counts the warnings of outcomes."""

    def __init__(self) -> None:
        self._counts: Counter[WarningNote] = Counter()

    def add(self, outcomes: Iterable[Outcome]) -> None:
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
        """Issue each warning once, from where it came."""
        for note in self._counts:
            warnings.warn_explicit(
                note.message, category_of(note.category), note.filename, note.lineno
            )


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
