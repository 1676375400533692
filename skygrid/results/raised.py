"""An exception that a fit raised on a node, raised again here.

Nothing of it is unpickled: a node sends the class's name and the text. The class is looked up
among those that are loaded here already, and used when it is a standard or scientific one.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

from skygrid.errors import SearchFailedError
from skygrid.worker.messages import FitResult

TRUSTED_ROOTS = frozenset({"builtins", "sklearn", "numpy", "scipy", "pandas", "polars", "joblib"})
"""Packages whose exceptions are made again from their text."""


def exception_of(result: FitResult, place: str) -> BaseException:
    """The exception to raise for a fit that raised.

    Parameters
    ----------
    result : FitResult
        With status ``raised``.
    place : str
        Which fit it was, for a person.

    Returns
    -------
    error : BaseException
        Of the class that the fit raised where that can be had, otherwise `SearchFailedError`; the
        traceback of the fit is attached as a note.
    """
    name, text = result.exception or ("builtins:RuntimeError", "")
    kind = _loaded_class(name)
    error: Exception
    try:
        error = kind(text) if kind else SearchFailedError(f"{name.partition(':')[2]}: {text}")
    except Exception:  # a class whose constructor wants more than a text
        error = SearchFailedError(f"{name.partition(':')[2]}: {text}")
    error.add_note(f"Raised by {place}; its traceback there:\n{result.fit_error}")
    return error


def _loaded_class(name: str) -> type[Exception] | None:
    module_name, _, qualified = name.partition(":")
    if module_name.partition(".")[0] not in TRUSTED_ROOTS:
        return None
    found: Any = builtins if module_name == "builtins" else sys.modules.get(module_name)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None
