"""Scores keep their type and every bit, and values that are no numbers are refused."""

from __future__ import annotations

import decimal
import fractions
import math
import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skygrid.worker.wire.messages.results import Scores, TypedNumber
from skygrid.worker.wire.scores import from_wire, to_wire

# Without q and Q, because NumPy uses C's long long for the same dtype as long.
NUMERIC = [np.dtype(code) for code in "?bBhHiIlLefdgFDG"]


def sent(scores: Any) -> Any:
    """Return the scores that arrive."""
    packed = msgspec.msgpack.encode(to_wire(scores))
    return from_wire(msgspec.msgpack.decode(packed, type=Scores))


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


@given(st.integers(0, 2**64 - 1))
@example(0x8000000000000000)  # -0.0
@example(0x7FF0000000000000)  # infinity
@example(0x7FF8000000000001)  # NaN with a payload
@example(0x7FF0000000000001)  # signalling NaN
@example(0xFFF8000000000000)  # NaN with its sign set
def test_every_bit_pattern_of_a_float_survives(pattern: int) -> None:
    (number,) = struct.unpack("<d", struct.pack("<Q", pattern))
    arrived = sent(number)
    assert type(arrived) is float
    assert bits(arrived) == bits(number)


@given(st.integers() | st.integers(-(2**1023), 2**1023))
@example(10**308)
def test_an_int_that_a_float_can_hold_survives(number: int) -> None:
    arrived = sent(number)
    assert type(arrived) is int
    assert arrived == number


@pytest.mark.parametrize("number", [True, False])
def test_a_bool_survives(number: bool) -> None:
    assert sent(number) is number


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_every_bit_of_a_complex_number_survives(real: int, imag: int) -> None:
    number = complex(*struct.unpack("<dd", struct.pack("<QQ", real, imag)))
    arrived = sent(number)
    assert type(arrived) is complex
    assert bits(arrived.real) + bits(arrived.imag) == bits(number.real) + bits(number.imag)


@given(st.decimals().filter(lambda number: not number.is_snan()))
@example(decimal.Decimal("NaN123"))
@example(decimal.Decimal("-0E+400"))
def test_a_decimal_survives(number: decimal.Decimal) -> None:
    arrived = sent(number)
    assert type(arrived) is decimal.Decimal
    assert arrived.as_tuple() == number.as_tuple()


@given(st.fractions())
@example(fractions.Fraction(1, 3**9000))
def test_a_fraction_survives(number: fractions.Fraction) -> None:
    arrived = sent(number)
    assert type(arrived) is fractions.Fraction
    assert arrived == number


@given(st.sampled_from(NUMERIC), st.sampled_from(["=", "<", ">"]), st.data())
def test_every_bit_of_a_numpy_scalar_survives(
    dtype: np.dtype[Any], order: str, data: st.DataObject
) -> None:
    dtype = dtype.newbyteorder(order)
    raw = data.draw(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize))
    if dtype.kind == "b":
        raw = bytes([raw[0] & 1])
    number = np.frombuffer(raw, dtype=dtype)[0]
    arrived = sent(number)
    assert type(arrived) is type(number)
    assert arrived.dtype == number.dtype
    assert arrived.tobytes() == number.tobytes()


def test_names_and_their_order_survive() -> None:
    scores = {"f1": 0.5, "accuracy": np.float32(0.1), "n": 3, "nothing": math.nan}
    arrived = sent(scores)
    assert list(arrived) == list(scores)
    assert [type(value) for value in arrived.values()] == [float, np.float32, int, float]


class HalfNumber(float):
    """A user's own type of number."""


def test_a_users_own_real_number_becomes_a_float() -> None:
    arrived = sent(HalfNumber(0.5))
    assert type(arrived) is float
    assert arrived == 0.5


@pytest.mark.parametrize(
    "value",
    ["0.5", None, [0.5], np.array([0.5]), np.str_("0.5"), np.datetime64(1, "s"),
     np.timedelta64(1, "s"), np.void(b"12"), object(), 0.5j.__class__],
)  # fmt: skip
def test_a_value_that_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TypeError, match="must be a number, not"):
        to_wire(value)
    with pytest.raises(TypeError, match="must be a number, not"):
        to_wire({"f1": 0.5, "odd": value})


LIES = [
    ("int", "one"), ("int", "1_000"), ("int", " 1"), ("int", ""), ("int", "0x10"), ("int", "--1"),
    ("bool", "maybe"), ("bool", ""),
    ("complex", "1+2j"), ("complex", "00" * 15),
    ("decimal", "x"), ("decimal", "1_0"), ("decimal", " 1"),
    ("fraction", "1"), ("fraction", "1/0"), ("fraction", "1e999999999"),
    ("float", "0.5"), ("", ""), ("object", "00"), ("|O", "00" * 8), ("|S4", "00" * 4),
    ("<U1", "00" * 4), ("<M8[s]", "00" * 8), ("<m8[s]", "00" * 8), ("|V8", "00" * 8),
    ("<f8", "00"), ("<f8", "00" * 9), ("<f8", "zz" * 8), ("<f3", "00" * 3), ("<i99", "00" * 99),
    ("<f4,<f4", "00" * 8), ("<999999999f8", ""), ("(9999,9999)<f8", ""), ("<f8" * 1000, ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), LIES)
def test_an_invalid_number_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError):  # any message will do
        from_wire(TypedNumber(kind, text))


@given(st.sampled_from(["int", "bool", "complex", "decimal", "fraction", "<f8", "|b1"]), st.text())
def test_any_text_is_a_number_or_refused(kind: str, text: str) -> None:
    try:
        number = from_wire(TypedNumber(kind, text))
    except ValueError:
        return
    assert isinstance(number, int | complex | decimal.Decimal | fractions.Fraction | np.generic)


@pytest.mark.parametrize("kind", ["int", "decimal", "fraction"])
def test_a_very_long_number_is_read(kind: str) -> None:
    """Python's limit on the digits of a number does not apply to scores."""
    text = "1" * 1_000_000
    assert from_wire(TypedNumber(kind, f"{text}/1" if kind == "fraction" else text)) > 0
