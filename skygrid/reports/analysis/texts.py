"""Numbers and parameters as short text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skygrid.reports.plain_values import parameter_text, shorten

from .values import as_number, literal, value_key

VALUE_WIDTH = 48
"""Maximum length of a value in a sentence, in characters."""

SETTINGS_WIDTH = 160
"""Maximum length of the parameters of a candidate in a sentence, in characters."""


def score_text(score: float) -> str:
    """Return a score with four significant digits: ``0.9532``, ``-12.35``."""
    return plain_number(score, 4)


def gain_text(gain: float) -> str:
    """Return a difference of scores with two significant digits."""
    return plain_number(gain, 2)


def plain_number(number: float, digits: int) -> str:
    """Return a number in significant digits, without an exponent between 0.0001 and a million."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    size = math.floor(math.log10(abs(number)))
    if -5 < size < 6:
        rounded = round(number, digits - 1 - size)
        return f"{rounded:.{max(0, digits - 1 - size)}f}"
    return f"{number:.{digits - 1}e}"


def seconds_text(seconds: float) -> str:
    """Return a duration: ``0.12 s``, ``75 s``, ``12 min``, ``3.5 h``."""
    if seconds < 0.001:
        return f"{plain_number(seconds * 1e6, 2)} µs"
    if seconds < 0.1:
        return f"{plain_number(seconds * 1e3, 2)} ms"
    if seconds < 120:
        return f"{plain_number(seconds, 2)} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{plain_number(seconds / 3600, 2)} h"


def percent_text(fraction: float) -> str:
    """Return a fraction as a percentage: ``71 %``; a small one is not shown as 0."""
    return "under 1 %" if 0 < fraction < 0.01 else f"{100 * fraction:.0f} %"


def value_text(value: Any) -> str:
    """Return a parameter's value as short text; a float in five significant digits."""
    if isinstance(value, tuple | list) and (text := literal(value)) is not None:
        return shorten(text, VALUE_WIDTH)
    number = as_number(value)
    if number is None or number.is_integer() or isinstance(value, int | np.integer):
        return parameter_text(value)
    return f"{number:.5g}"


def settings_text(params: Mapping[str, Any], other: Mapping[str, Any] | None = None) -> str:
    """Return ``name=value, name=value``; only what differs from `other`, if given."""
    shown = {
        name: value
        for name, value in params.items()
        if other is None or name not in other or value_key(value) != value_key(other[name])
    }
    text = ", ".join(f"{name}={value_text(value)}" for name, value in shown.items())
    return shorten(text, SETTINGS_WIDTH)


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
