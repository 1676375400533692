"""Conversion of values to JSON data and to short text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Plain = str | int | float | bool | list[Any] | dict[str, Any] | None
"""JSON data."""


def plain_score(value: Any) -> float | None:
    """Return a score as a float; None for NaN and infinities, which JSON lacks."""
    number = float(value)
    return number if math.isfinite(number) else None


TUPLE, FLOAT, DICT, OBJECT = "$tuple", "$float", "$dict", "$object"
"""Keys of JSON objects that stand for a value that JSON lacks."""

TAGS = (TUPLE, FLOAT, DICT, OBJECT)


def plain_parameter(value: Any) -> Plain:
    """Return a parameter's value as JSON data.

    Numbers, text, None, lists, and dicts of these are JSON as they are. JSON lacks other values;
    they become an object with one key:

    - ``{"$tuple": [50, 50]}``
    - ``{"$float": "nan"}``, also ``"inf"`` and ``"-inf"``
    - ``{"$dict": [[1, 0.5], [2, 1.0]]}``: a dict with keys other than text, or with keys that begin
      with ``$``
    - ``{"$object": "SVC()"}``: the repr of anything else

    `from_plain` reads them back.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value) if _is_unicode(value) else {OBJECT: repr(str(value))}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {FLOAT: repr(float(value))}
    if type(value) in (list, tuple):
        items: list[Any] = [plain_parameter(item) for item in value]
        return items if type(value) is list else {TUPLE: items}
    if type(value) is dict:
        return _plain_dict(value)
    return _plain_object(value)


def _is_unicode(text: str) -> bool:
    """Return whether text can be written as UTF-8; a file name of other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:  # it has lone surrogates
        return False
    return True


def _plain_dict(value: dict[Any, Any]) -> Plain:
    if all(isinstance(key, str) and not key.startswith("$") and _is_unicode(key) for key in value):
        return {str(key): plain_parameter(item) for key, item in value.items()}
    return {DICT: [[plain_parameter(key), plain_parameter(item)] for key, item in value.items()]}


def from_plain(plain: Any) -> Any:
    """Return the value that `plain_parameter` has encoded; the repr of an object, as text."""
    if isinstance(plain, list):
        return [from_plain(item) for item in plain]
    tag = tag_of(plain)
    if tag is None:
        is_dict = isinstance(plain, dict)
        return {key: from_plain(item) for key, item in plain.items()} if is_dict else plain
    content = plain[tag]
    if tag == TUPLE:
        return tuple(from_plain(item) for item in content)
    if tag == DICT:
        return {_key(key): from_plain(item) for key, item in content}
    return float(content) if tag == FLOAT else content


def _key(plain: Any) -> Any:
    """Return a key of a dict; the text of one that no dict can have."""
    key = from_plain(plain)
    try:
        hash(key)
    except TypeError:  # a document may say anything
        return plain_text(plain)
    return key


def tag_of(plain: Any) -> str | None:
    """Return the key of an object that stands for a value that JSON lacks; None: another value."""
    if not isinstance(plain, dict) or len(plain) != 1:
        return None
    ((key, content),) = plain.items()
    return key if key in TAGS and _is_content(key, content) else None


def _is_content(tag: str, content: Any) -> bool:
    """Return whether `plain_parameter` writes such content: a document may have any other."""
    if tag == TUPLE:
        return isinstance(content, list)
    if tag == DICT:
        return isinstance(content, list) and all(
            isinstance(pair, list) and len(pair) == 2 for pair in content
        )
    return isinstance(content, str) and (tag == OBJECT or content in ("nan", "inf", "-inf"))


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

    Floats have five significant digits. An estimator is shown as its class, because its repr may
    take milliseconds and many lines.
    """
    if hasattr(value, "get_params") and not isinstance(value, type):
        return shorten(f"{type(value).__name__}(…)", width)
    return shorten(one_line(plain_text(_rounded(plain_parameter(value)))), width)


def _rounded(plain: Any) -> Any:
    """Return JSON data with floats of five significant digits."""
    if isinstance(plain, float):
        return float(f"{plain:.5g}")
    if isinstance(plain, list):
        return [_rounded(item) for item in plain]
    if isinstance(plain, dict):
        return {key: _rounded(item) for key, item in plain.items()}
    return plain


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
        return {OBJECT: one_line(repr(value)).encode(errors="backslashreplace").decode()}
    except Exception as error:  # noqa: BLE001  # a user's repr may raise anything
        return {OBJECT: f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"}


def plain_text(plain: Plain) -> str:
    """Return encoded data as text for people: ``(50, 50)``, ``nan``, ``SVC()``."""
    if isinstance(plain, list):
        return "[" + _joined(plain) + "]"
    tag = tag_of(plain)
    if not isinstance(plain, dict):
        return repr(plain) if isinstance(plain, float) else str(plain)
    if tag is None:
        return "{" + ", ".join(f"{key}: {plain_text(item)}" for key, item in plain.items()) + "}"
    content = plain[tag]
    if tag == TUPLE:
        return f"({_joined(content)}{',' if len(content) == 1 else ''})"
    if tag == DICT:
        if len(content) == 1 and content[0][0] in TAGS:  # data that were encoded already
            return plain_text(dict(content))
        pairs = (f"{plain_text(key)}: {plain_text(item)}" for key, item in content)
        return "{" + ", ".join(pairs) + "}"
    return str(content)


def _joined(items: list[Any]) -> str:
    return ", ".join(map(plain_text, items))


def count_text(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 fit``, ``2 fits``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def round_text(candidates: int, splits: int) -> str:
    """Return the size of a round: ``2 candidates x 5 splits = 10 fits``."""
    factors = f"{count_text(candidates, 'candidate')} x {count_text(splits, 'split')}"
    return f"{factors} = {count_text(candidates * splits, 'fit')}"


def varied_parameters(candidates: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of parameters that do not have the same value in all candidates, in order.

    A parameter that some candidates lack is among them.
    """
    varied: dict[str, bool] = {}
    first = candidates[0] if candidates else {}
    known = {name: plain_parameter(value) for name, value in first.items()}
    for one in candidates:
        for name, value in one.items():
            if not varied.get(name):
                varied[name] = name not in first or (
                    value is not first[name] and plain_parameter(value) != known[name]
                )
        for name in first:
            if name not in one:
                varied[name] = True
    return tuple(name for name, differs in varied.items() if differs)
