"""Conversion of values to JSON data and to short text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Plain = str | int | float | bool | list[Any] | dict[str, Any] | None
"""JSON data."""


def plain_score(value: Any) -> float | None:
    """Return a score as a float; None for NaN and infinities, which JSON lacks."""
    number = float(value)
    return number if math.isfinite(number) else None


def plain_parameter(value: Any) -> Plain:
    """Return a parameter's value as JSON data.

    Numbers, text, None and collections of these are kept exactly. Other values become their repr,
    NaN and infinities included, because None is itself a valid parameter.
    """
    if value is None or isinstance(value, str | bool):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if type(value) in (list, tuple):
        return [plain_parameter(item) for item in value]
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {str(key): plain_parameter(item) for key, item in value.items()}
    return _plain_object(value)


def plain_parameters(params: Mapping[str, Any]) -> dict[str, Plain]:
    """Return a candidate's parameters as JSON data."""
    return {str(name): plain_parameter(value) for name, value in params.items()}


def one_line(text: str) -> str:
    """Return `text` with each run of white space replaced by one blank."""
    return " ".join(text.split())


def shorten(text: str, width: int) -> str:
    """Return `text` in at most `width` characters, with an ellipsis where it is cut."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def parameter_text(value: Any, width: int = 48) -> str:
    """Return a parameter's value as short text in one line.

    An estimator is shown as its class, because its repr may take milliseconds and many lines.
    """
    if hasattr(value, "get_params") and not isinstance(value, type):
        return shorten(f"{type(value).__name__}(…)", width)
    plain = plain_parameter(value)
    return shorten(one_line(plain if isinstance(plain, str) else _readable(plain)), width)


def parameters_text(params: Mapping[str, Any], width: int = 48) -> str:
    """Return parameters as ``name=value, name=value``, each value in at most `width` characters."""
    return ", ".join(f"{name}={parameter_text(value, width)}" for name, value in params.items())


def _plain_object(value: Any) -> Plain:
    # NumPy scalars become Python numbers; the check of ndim excludes arrays.
    if getattr(value, "ndim", None) == 0 and hasattr(value, "dtype") and hasattr(value, "item"):
        item = value.item()
        if isinstance(item, str | bool | int | float):
            return plain_parameter(item)
    try:
        return one_line(repr(value))
    except Exception as error:  # noqa: BLE001  # a user's repr may raise anything
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def _readable(plain: Plain) -> str:
    if isinstance(plain, list):
        return "[" + ", ".join(_readable(item) for item in plain) + "]"
    return repr(plain) if isinstance(plain, float) else str(plain)


def count_text(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 fit``, ``2 fits``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def round_text(candidates: int, splits: int) -> str:
    """Return the size of a round: ``2 candidates x 5 splits = 10 fits``."""
    factors = f"{count_text(candidates, 'candidate')} x {count_text(splits, 'split')}"
    return f"{factors} = {count_text(candidates * splits, 'fit')}"
