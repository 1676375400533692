"""Rows of a journal's tables, each with a checksum. Outcomes keep every bit of every score."""

from __future__ import annotations

import operator
import zlib
from typing import Any

import msgspec

from skygrid.plan.records import Outcome
from skygrid.worker.wire.messages.fields import Seconds

Row = tuple[Any, ...]
"""Columns of ``outcomes`` in `schema`: `COLUMNS`, the whole outcome as MessagePack or None, and
the checksum of all before.
"""

_KEY = ("round", "candidate", "split", "status", "node")
COLUMNS = (
    *_KEY, "slot", "attempt", "test_scores", "train_scores", "n_test_samples", "fit_seconds",
    "score_seconds", "busy_seconds", "finished_at", "answered_by",
)  # fmt: skip
"""Fields of an outcome with a column of their own, in the order of the table."""

_RARE = {
    field.name: field.default
    for field in msgspec.structs.fields(Outcome)
    if field.name not in COLUMNS
}
"""Other fields and their defaults: an outcome that differs in one of them is stored whole."""

_SECONDS = tuple(
    field.name
    for field in msgspec.structs.fields(Outcome)
    if field.name in COLUMNS and field.type in (float, Seconds)
)

_rare_of = operator.attrgetter(*_RARE)
_USUAL = tuple(_RARE.values())
_seconds_of = operator.attrgetter(*_SECONDS)
_is_positive = (0.0).__lt__
_columns_of = operator.attrgetter(*COLUMNS)
_key_of = operator.attrgetter(*_KEY)
_NULLS = (None,) * (len(COLUMNS) - len(_KEY))

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outcome).decode
_checksum = zlib.crc32


def seal(*values: Any) -> tuple[Any, ...]:
    """Return these values with their checksum."""
    return (*values, _checksum(_encode(values)))


def is_intact(row: tuple[Any, ...]) -> bool:
    """Return whether the checksum of a row is right."""
    return bool(_checksum(_encode(row[:-1])) == row[-1])


def unseal(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values of a row.

    Raises
    ------
    msgspec.DecodeError
        The row is damaged.
    """
    if not is_intact(row):
        raise msgspec.DecodeError(f"the row that begins with {row[0]!r:.40}")
    return row[:-1]


def to_row(outcome: Outcome) -> Row:
    """Return the row of an outcome.

    Most outcomes are a few plain numbers, which fit the columns. SQLite turns NaN into NULL and
    -0.0 into 0.0, so outcomes with such numbers, and all others, are stored whole as MessagePack.
    """
    o = outcome
    test, train = o.test_scores, o.train_scores
    if (
        type(test) is float
        and test == test
        and test != 0.0
        and (train is None or (type(train) is float and train == train and train != 0.0))
        and _rare_of(o) == _USUAL
        and all(map(_is_positive, _seconds_of(o)))
    ):
        return seal(*_columns_of(o), None)
    return seal(*_key_of(o), *_NULLS, _encode(o))


def from_row(row: tuple[Any, ...]) -> Outcome:
    """Return the outcome of a row.

    Raises
    ------
    msgspec.DecodeError
        The row is damaged.
    """
    *columns, whole, _ = row
    if not is_intact(row):
        round, candidate, split, *_ = row
        raise msgspec.DecodeError(f"round {round}, candidate {candidate}, split {split}")
    if whole is not None:
        return _decode(whole)
    return Outcome(**dict(zip(COLUMNS, columns, strict=True)))
