"""Rows of a journal's tables: each ends with a checksum; outcomes keep every bit of every score."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from skygrid.plan.records import Outcome, Status

Row = tuple[
    int, int, int, Status, str, int | None, int | None, float | None, float | None,
    int | None, float | None, float | None, float | None, float | None, int | None,
    bytes | None, int,
]  # fmt: skip
"""round, candidate, split, status, node, slot, attempt, test score, train score, test samples,
fit seconds, score seconds, busy seconds, finished at, answered by, whole outcome, checksum of all
before."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outcome).decode
_checksum = zlib.crc32
_LARGEST = 2**63


def seal(*values: Any) -> tuple[Any, ...]:
    """Return the row of these values: they and their checksum."""
    return (*values, _checksum(_encode(values)))


def is_intact(row: tuple[Any, ...]) -> bool:
    """Return whether a row is what was written: its key, its values, its checksum."""
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
    """Give the row of an outcome.

    Most outcomes are a few plain numbers and fit the columns. SQLite turns NaN into NULL and
    -0.0 into 0.0, so whatever holds a number like that, or anything richer, is kept whole as
    MessagePack in a column of its own instead.
    """
    o = outcome
    test, train = o.test_scores, o.train_scores
    if (
        type(test) is float
        and test == test
        and test != 0.0
        and (train is None or (type(train) is float and train == train and train != 0.0))
        and o.fit_error is None
        and not o.warnings
        and o.fit_seconds > 0.0
        and o.score_seconds > 0.0
        and o.busy_seconds > 0.0
        and o.finished_at > 0.0
        and not o.prefix_kept
        and -1 < o.n_test_samples < _LARGEST
        and -1 < o.slot < _LARGEST
    ):
        values = (
            o.round, o.candidate, o.split, o.status, o.node, o.slot, o.attempt, test, train,
            o.n_test_samples, o.fit_seconds, o.score_seconds, o.busy_seconds, o.finished_at,
            o.answered_by, None,
        )  # fmt: skip
        return (*values, _checksum(_encode(values)))
    whole = (
        o.round, o.candidate, o.split, o.status, o.node, None, None, None, None,
        None, None, None, None, None, None, _encode(o),
    )  # fmt: skip
    return (*whole, _checksum(_encode(whole)))


def from_row(row: tuple[Any, ...]) -> Outcome:
    """Give the outcome of a row.

    Raises
    ------
    msgspec.DecodeError
        The row is damaged.
    """
    (
        round, candidate, split, status, node, slot, attempt, test, train,
        samples, fit_seconds, score_seconds, busy_seconds, finished_at, answered_by, whole,
        _,
    ) = row  # fmt: skip
    if not is_intact(row):
        raise msgspec.DecodeError(f"round {round}, candidate {candidate}, split {split}")
    if whole is not None:
        return _decode(whole)
    return Outcome(
        round=round,
        candidate=candidate,
        split=split,
        status=status,
        node=node,
        slot=slot,
        attempt=attempt,
        test_scores=test,
        train_scores=train,
        n_test_samples=samples,
        fit_seconds=fit_seconds,
        score_seconds=score_seconds,
        busy_seconds=busy_seconds,
        answered_by=answered_by,
        finished_at=finished_at,
    )
