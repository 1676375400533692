"""Outcomes as rows of a table and back, with every bit of every score."""

from __future__ import annotations

import msgspec

from skygrid.plan.records import Outcome, Status

Row = tuple[
    int, int, int, Status, str, int | None, int | None, float | None, float | None,
    int | None, float | None, float | None, float | None, bytes | None,
]  # fmt: skip
"""round, candidate, split, status, node, slot, attempt, test score, train score, test samples,
fit seconds, score seconds, finished at, whole outcome."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outcome).decode
_LARGEST = 2**63


def to_row(outcome: Outcome) -> Row:
    """Give the row of an outcome.

    Most outcomes are a few plain numbers and fit the columns. SQLite turns NaN into NULL and
    -0.0 into 0.0, so whatever holds a number like that, or anything richer, is kept whole as
    MessagePack in the last column instead.
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
        and o.finished_at > 0.0
        and -1 < o.n_test_samples < _LARGEST
        and -1 < o.slot < _LARGEST
    ):
        return (
            o.round, o.candidate, o.split, o.status, o.node, o.slot, o.attempt, test, train,
            o.n_test_samples, o.fit_seconds, o.score_seconds, o.finished_at, None,
        )  # fmt: skip
    return (
        o.round, o.candidate, o.split, o.status, o.node, None, None, None, None,
        None, None, None, None, _encode(o),
    )  # fmt: skip


def from_row(row: Row) -> Outcome:
    """Give the outcome of a row.

    Raises
    ------
    msgspec.DecodeError
        The whole outcome is not one: the row is damaged.
    """
    (
        round, candidate, split, status, node, slot, attempt, test, train,
        samples, fit_seconds, score_seconds, finished_at, whole,
    ) = row  # fmt: skip
    if whole is not None:
        return _decode(whole)
    if (
        slot is None or attempt is None or samples is None
        or fit_seconds is None or score_seconds is None or finished_at is None
    ):  # fmt: skip
        raise msgspec.DecodeError(f"candidate {candidate}, split {split} has no numbers")
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
        finished_at=finished_at,
    )
