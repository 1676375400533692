"""Scores on the wire: every number keeps its type and every bit.

A Python float, NaN and infinities included, travels as it is: MessagePack's float 64 is the same
eight bytes. Every other number is written as a `TypedNumber`.
"""

from __future__ import annotations

import decimal
import fractions
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from .messages import Scores, TypedNumber


def to_wire(scores: Any) -> Scores:
    """Write a scorer's answer so that it can travel.

    Parameters
    ----------
    scores : number or dict of str to number
        As `sklearn.model_selection` collects them for one fit.

    Returns
    -------
    wire : float, TypedNumber or dict of them

    Raises
    ------
    TypeError
        If something in it is not a number that can be written exactly.
    """
    if isinstance(scores, Mapping):
        return {str(name): _number_to_wire(score) for name, score in scores.items()}
    return _number_to_wire(scores)


def from_wire(wire: Scores) -> Any:
    """Read what `to_wire` wrote.

    Parameters
    ----------
    wire : float, TypedNumber or dict of them

    Returns
    -------
    scores : number or dict of str to number

    Raises
    ------
    ValueError
        If a `TypedNumber` is not one that `to_wire` writes.
    """
    if isinstance(wire, dict):
        return {name: _number_from_wire(score) for name, score in wire.items()}
    return _number_from_wire(wire)


def _number_to_wire(value: Any) -> float | TypedNumber:
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]  # narrowed by the exact type
    if isinstance(value, np.generic):
        return TypedNumber(value.dtype.str, value.tobytes().hex())
    if kind in _WRITERS:
        name, write = _WRITERS[kind]
        return TypedNumber(name, write(value))
    if isinstance(value, numbers.Real):
        # A user's own number type: scikit-learn stores it as a float in the end, and so do we.
        return float(value)
    raise TypeError(f"a score must be a number, not {kind.__module__}.{kind.__qualname__}")


def _number_from_wire(wire: float | TypedNumber) -> Any:
    if isinstance(wire, float):
        return wire
    if wire.kind in _READERS:
        return _READERS[wire.kind](wire.text)
    if wire.kind[:1] not in "<>|=":
        raise ValueError(f"unknown kind of number: {wire.kind!r}")
    try:
        dtype = np.dtype(wire.kind)
    except TypeError as error:
        raise ValueError(f"unknown kind of number: {wire.kind!r}") from error
    if dtype.kind not in "biufc":
        raise ValueError(f"not a number's dtype: {wire.kind!r}")
    raw = bytes.fromhex(wire.text)
    if len(raw) != dtype.itemsize:
        raise ValueError(f"{len(raw)} bytes for a {wire.kind}")
    return np.frombuffer(raw, dtype=dtype)[0]


_WRITERS: dict[type, tuple[str, Any]] = {
    bool: ("bool", str),
    int: ("int", str),
    complex: ("complex", repr),
    decimal.Decimal: ("decimal", str),
    fractions.Fraction: ("fraction", str),
}
_READERS: dict[str, Any] = {
    "bool": lambda text: text == "True",
    "int": int,
    "complex": complex,
    "decimal": decimal.Decimal,
    "fraction": fractions.Fraction,
}
