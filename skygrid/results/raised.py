"""An exception that a fit raised on a node, raised again here.

Nothing of it is unpickled: a node sends the class's name and the text. The class is looked up
among those that are loaded here already. Standard and scientific ones are made from their text; of
any other no code runs, so its instance has its text and type but no attributes of its own.
"""

from __future__ import annotations

import ast
import builtins
import sys
from typing import Any

from skygrid.errors import SearchFailedError
from skygrid.worker.messages import FitResult

TRUSTED_ROOTS = frozenset({"builtins", "sklearn", "numpy", "scipy", "pandas", "polars", "joblib"})
"""Packages whose exceptions are made by their own constructors."""


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
        Of the class that the fit raised and with its text, where that can be had, otherwise
        `SearchFailedError`; the traceback of the fit is attached as a note.
    """
    name, text = result.exception or ("builtins:RuntimeError", "")
    error = _made_again(name, text) or SearchFailedError(f"{name.partition(':')[2]}: {text}")
    error.add_note(f"Raised by {place}; its traceback there:\n{result.fit_error}")
    return error


def _made_again(name: str, text: str) -> Exception | None:
    kind = _loaded_class(name)
    if kind is None:
        return None
    try:
        if name.partition(":")[0].partition(".")[0] in TRUSTED_ROOTS:
            error = kind(_key(text) if issubclass(kind, KeyError) else text)
        else:
            error = BaseException.__new__(kind, text)
        return error if str(error) == text else None
    except Exception:  # noqa: BLE001 (a class that wants, or shows, more than a text)
        return None


def _key(text: str) -> Any:
    """What a `KeyError` was made of: its text is its key's repr."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _loaded_class(name: str) -> type[Exception] | None:
    module_name, _, qualified = name.partition(":")
    found: Any = builtins if module_name == "builtins" else sys.modules.get(module_name)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None
