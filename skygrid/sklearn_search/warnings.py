"""Warnings of fits on nodes: counted, and issued here once each."""

from __future__ import annotations

import functools
import linecache
import sys
import warnings
from collections import Counter
from collections.abc import Iterable

from skygrid.plan.records import Outcome
from skygrid.sklearn_search.exception_values import loaded_class
from skygrid.worker.wire.messages.calls import CallDone
from skygrid.worker.wire.messages.exceptions import ClassName
from skygrid.worker.wire.messages.results import FitResult, WarningNote


class WarningCounter:
    def __init__(self) -> None:
        self._counts: Counter[WarningNote] = Counter()

    def add(self, outcomes: Iterable[Outcome | FitResult | CallDone]) -> None:
        """Count the warnings of these outcomes."""
        for outcome in outcomes:
            if outcome.warnings:
                self._counts.update(outcome.warnings)

    def counted(self) -> list[tuple[str, str, int]]:
        """Return (category, message, count), the most frequent first."""
        return [
            (note.category.partition(":")[2], note.message, count)
            for note, count in self._counts.most_common()
        ]

    def issue(self) -> None:
        """Issue each warning once, with its original file and line.

        Warning filters are bypassed: they were applied in the fit, where the warning's module and
        the estimator's own filters are known. They are not replaced, because all threads share
        them.
        """
        for note in self._counts:
            warning = _warning_of(note)
            where = (note.filename, note.lineno)
            warnings.showwarning(warning, type(warning), *where, None, _source_line(*where))


def _source_line(filename: str, lineno: int) -> str:
    """Return a line of a loaded module; empty for other files.

    A node names the file: it may be a device, a pipe, or a file of another machine.
    """
    loaded = {getattr(one, "__dict__", {}).get("__file__") for one in [*sys.modules.values()]}
    return linecache.getline(filename, lineno).strip() if filename in loaded else ""


def _warning_of(note: WarningNote) -> Warning:
    """Make the warning again, or a `UserWarning` that names its class.

    A class whose constructor does not take a text is made without its constructor.
    """
    category = category_of(note.category)
    for make in (category, functools.partial(Warning.__new__, category)):
        try:
            warning = make(note.message)
            if type(warning) is category and str(warning) == note.message:
                return warning
        except Exception:  # noqa: BLE001 (a class may raise anything for a text that it does not expect)
            continue
    return UserWarning(f"{note.category.partition(':')[2]}: {note.message}")


def category_of(name: str) -> type[Warning]:
    """Return the class of a warning from its ``module:qualified name``; `UserWarning` if not
    loaded.
    """
    module, _, qualified = name.partition(":")
    found = loaded_class(ClassName(module, qualified))
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return UserWarning
