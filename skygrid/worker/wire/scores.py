"""Scores on the wire, with the type and every bit of each number.

A Python float travels as MessagePack's float 64, which has the same eight bytes, also for NaN and
infinities. Every other number is a `TypedNumber`.
"""

from __future__ import annotations

import decimal
import fractions
import numbers
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .messages.results import MOST_DIGITS, Scores, TypedNumber

NUMERIC_DTYPES = "biufc"
_DTYPE = re.compile(rf"[<>|=][{NUMERIC_DTYPES}][0-9]{{1,2}}")
_HEX = re.compile(r"-?[0-9a-f]+")


def to_wire(scores: Any) -> Scores:
    """Convert scores of one fit to their form on the wire.

    Parameters
    ----------
    scores : number or dict of str to number
        As `sklearn.model_selection` collects them for one fit.

    Raises
    ------
    TypeError
        If a score is not a number that can be written exactly.
    OverflowError
        If no float can hold a score, as in scikit-learn; or if it has too many digits.
    """
    if isinstance(scores, Mapping):
        return {str(name): _score_to_wire(score) for name, score in scores.items()}
    return _score_to_wire(scores)


def from_wire(wire: Scores) -> Any:
    """Convert scores from their form on the wire.

    Raises
    ------
    ValueError
        If a `TypedNumber` is not one that `to_wire` writes.
    """
    if isinstance(wire, dict):
        return {name: number_from_wire(score) for name, score in wire.items()}
    return number_from_wire(wire)


def as_float(score: Any) -> Any:
    """Return a score as scikit-learn stores it; NumPy and complex numbers are returned as they are.

    An array of scores has them as floats in any case. Complex ones lose their imaginary part there,
    but only beside numbers of which NumPy knows the type.

    Raises
    ------
    OverflowError, ValueError
        If no float can hold the score.
    """
    if isinstance(score, int | fractions.Fraction | decimal.Decimal):
        return float(score)
    return score


def _score_to_wire(value: Any) -> float | TypedNumber:
    as_float(value)  # raises what scikit-learn raises when it makes an array of scores
    wire = number_to_wire(value)
    if isinstance(wire, TypedNumber) and len(wire.text) > MOST_DIGITS:
        raise OverflowError(f"a score has more than {MOST_DIGITS} digits")
    return wire


def number_to_wire(value: Any) -> float | TypedNumber:
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]  # narrowed by the exact type
    if isinstance(value, np.generic):
        return _scalar_to_wire(value)
    if kind in _WRITERS:
        name, write = _WRITERS[kind]
        return TypedNumber(name, write(value))
    if isinstance(value, numbers.Real):
        # A user's own number type: scikit-learn too stores it as a float.
        return float(value)
    raise TypeError(f"a score must be a number, not {kind.__module__}.{kind.__qualname__}")


def _scalar_to_wire(value: np.generic[Any]) -> TypedNumber:
    if value.dtype.kind not in NUMERIC_DTYPES:
        raise TypeError(f"a score must be a number, not numpy.{value.dtype.name}")
    return TypedNumber(value.dtype.str, value.tobytes().hex())


def number_from_wire(wire: float | TypedNumber) -> Any:
    if isinstance(wire, float):
        return wire
    if wire.kind in _READERS:
        return _READERS[wire.kind](wire.text)
    if not _DTYPE.fullmatch(wire.kind):
        raise ValueError(f"unknown kind of number: {wire.kind!r}")
    try:
        dtype = np.dtype(wire.kind)
    except TypeError as error:
        raise ValueError(f"unknown kind of number: {wire.kind!r}") from error
    raw = bytes.fromhex(wire.text)
    if len(raw) != dtype.itemsize:
        raise ValueError(f"{len(raw)} bytes for a {wire.kind}")
    return np.frombuffer(raw, dtype=dtype)[0]


def _write_complex(value: complex) -> str:
    return struct.pack("<dd", value.real, value.imag).hex()


def _read_complex(text: str) -> complex:
    raw = bytes.fromhex(text)
    if len(raw) != 16:
        raise ValueError(f"{len(raw)} bytes for a complex number")
    return complex(*struct.unpack("<dd", raw))


def _write_fraction(value: fractions.Fraction) -> str:
    return f"{value.numerator:x}/{value.denominator:x}"


def _read_fraction(text: str) -> fractions.Fraction:
    numerator, _, denominator = text.partition("/")
    try:
        return fractions.Fraction(_read_int(numerator), _read_int(denominator))
    except ZeroDivisionError as error:
        raise ValueError("a fraction over zero") from error


def _read_int(text: str) -> int:
    # Hexadecimal, because Python limits the length of decimal integers and converts them slowly.
    if not _HEX.fullmatch(text):
        raise ValueError(f"not an integer: {text[:40]!r}")
    return int(text, 16)


def _read_bool(text: str) -> bool:
    if text not in {"True", "False"}:
        raise ValueError(f"not a truth value: {text[:40]!r}")
    return text == "True"


def _read_decimal(text: str) -> decimal.Decimal:
    try:
        value = decimal.Decimal(text)
    except decimal.DecimalException as error:
        raise ValueError(f"not a decimal number: {text[:40]!r}") from error
    if str(value) != text:
        raise ValueError(f"not a decimal number as it is written: {text[:40]!r}")
    return value


_WRITERS: dict[type, tuple[str, Callable[[Any], str]]] = {
    bool: ("bool", str),
    int: ("int", "{:x}".format),
    complex: ("complex", _write_complex),
    decimal.Decimal: ("decimal", str),
    fractions.Fraction: ("fraction", _write_fraction),
}
_READERS: dict[str, Callable[[str], Any]] = {
    "bool": _read_bool,
    "int": _read_int,
    "complex": _read_complex,
    "decimal": _read_decimal,
    "fraction": _read_fraction,
}
