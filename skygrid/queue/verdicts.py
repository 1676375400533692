"""What the queue answers when a node reports an outcome or the death of a slot."""

from __future__ import annotations

import enum

import msgspec


class Verdict(enum.Enum):
    """What a reported outcome is to the queue."""

    FIRST = "first"
    """The task's outcome: record it."""

    LATE = "late"
    """The task had ended: log it and drop it."""

    UNKNOWN = "unknown"
    """This node does not hold that lease, or gave it up itself: the report is wrong."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """The queue's answer to a reported outcome."""

    verdict: Verdict
    candidate: int = -1
    """-1 when unknown, as `split`."""

    split: int = -1
    attempt: int = 0
    answered_by: int = -1
    """The candidate whose fit on this split answered this one too; -1: it had a fit of its own."""

    abandon: tuple[tuple[str, int], ...] = ()
    """(node, lease) of leases of which nothing more is wanted."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """A slot died under the task; it is tried again, or its other copy goes on."""

    candidate: int
    split: int
    attempt: int
    """The attempt that died."""

    alone: bool
    """The next attempt is the last and has its node to itself."""


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """The task is given up and has ended; its outcome is ``killed``, for this reason."""

    candidate: int
    split: int
    attempt: int
    """The attempt that was the last."""

    node: str
    """Node of the last attempt."""

    reason: str
