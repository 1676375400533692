"""Numbers, durations and parameters as readers see them in the page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from skygrid.reports.html.values import value_code

View = dict[str, Any]
"""A part of the page: values of the template."""


def python_dict(params: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Return parameters as a Python dict, one line each if there are several."""
    items = [f"{name!r}: {value_code(value, texts.get(name))}" for name, value in params.items()]
    one = "{" + ", ".join(items) + "}"
    return one if len(one) <= 72 else "{\n" + "".join(f"    {item},\n" for item in items) + "}"


def score_text(score: float | None) -> str:
    """Return a score in five significant digits; a dash for none."""
    return "–" if score is None else f"{score:.5g}"


def seconds_text(seconds: float) -> str:
    """Return a duration as a reader writes it: 12 ms, 3.4 s, 5 min 12 s, 2 h 5 min."""
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.0995 else f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def signed_text(number: float) -> str:
    """Return a difference in four significant digits, with its sign."""
    return f"{number:+.4g}".replace("-", "−") if number else "0"


def count_text(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural if need be."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def time_text(instant: float) -> str:
    """Return seconds since the epoch as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(instant))


def tile(label: str, value: str, note: str = "") -> View:
    """Return one number of the page with its label."""
    return {"label": label, "value": value, "note": note}
