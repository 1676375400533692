"""The queue's answers to a reported outcome and to the death of a slot."""

from __future__ import annotations

import enum

import msgspec


class Verdict(enum.Enum):
    """Classification of a reported outcome."""

    FIRST = "first"
    """The task's first outcome: record it."""

    LATE = "late"
    """The task had ended: log the report and drop it."""

    UNKNOWN = "unknown"
    """The node never held that lease, or has ended it itself: the report is wrong."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a reported outcome."""

    verdict: Verdict
    candidate: int = -1
    """-1 if unknown, as `split`."""

    split: int = -1
    attempt: int = 0
    answered_by: int = -1
    """Candidate whose fit answered this one on this split; -1 for a fit of its own."""

    abandon: tuple[tuple[str, int], ...] = ()
    """(node, lease) of leases that nodes should give up."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """A slot died under the task: the task is tried again, or its other copy continues."""

    candidate: int
    split: int
    attempt: int
    """The attempt that died."""

    alone: bool
    """The next attempt is the last and has its node to itself."""


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """The task is given up and has ended; its outcome is ``killed``."""

    candidate: int
    split: int
    attempt: int
    """The last attempt."""

    node: str
    """Node of the last attempt."""

    reason: str
