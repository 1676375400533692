"""Values of parameters as text, as Python, and as numbers on an axis."""

from __future__ import annotations

import math
from typing import Any

from skygrid.journal.plan_values import StandIn
from skygrid.reports.plain_values import one_line, parameter_text, shorten

MOST_CODE = 2000
"""Maximum number of characters of a value as Python."""


def value_text(value: Any, written: str | None = None) -> str:
    """Return a value for readers: numbers in five significant digits, one line.

    Parameters
    ----------
    value : object
    written : str, optional
        Python text of a stand-in, from a result document.
    """
    number = as_number(value)
    if number is not None and not isinstance(value, bool):
        return number_text(number)
    if is_object(value):
        return shorten(written or _class_text(value), 60)
    return _tuple_text(value) if isinstance(value, tuple) else parameter_text(value, 60)


def value_code(value: Any, written: str | None = None) -> str:
    """Return a value as Python, for the clipboard."""
    if is_object(value):
        return shorten(written or repr(value), MOST_CODE)
    item = _item(value)
    if isinstance(item, float) and not math.isfinite(item):
        return f'float("{item}")'
    return shorten(one_line(repr(item)), MOST_CODE)


def value_key(value: Any) -> tuple[str, str]:
    """Return a hashable key: equal for values that a reader cannot tell apart."""
    item = _item(value)
    return type(item).__name__, repr(item)


def is_object(value: Any) -> bool:
    """Return whether a value is an object of a class that is not loaded, or such a class."""
    return isinstance(value, StandIn) or (isinstance(value, type) and issubclass(value, StandIn))


def as_number(value: Any) -> float | None:
    """Return a finite number for an axis; None for anything else, booleans included."""
    item = _item(value)
    if isinstance(item, bool) or not isinstance(item, int | float):
        return None
    try:
        number = float(item)
    except OverflowError:  # an integer beyond the largest float is a category
        return None
    return number if math.isfinite(number) else None


def number_text(number: float) -> str:
    """Return a number in at most five significant digits, and short."""
    if number == int(number) and abs(number) < 1e6:
        return str(int(number))
    return f"{number:.5g}"


def _class_text(value: Any) -> str:
    """Return an object as its class: its repr has every default value."""
    return repr(value) if isinstance(value, type) else f"{type(value).__name__}(…)"


def _item(value: Any) -> Any:
    """Return the Python value of a NumPy scalar, and other values as they are."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def _tuple_text(value: tuple[Any, ...]) -> str:
    inside = ", ".join(value_text(item) for item in value)
    return shorten(f"({inside},)" if len(value) == 1 else f"({inside})", 60)
