"""The plan of a round as bytes, for a run that is resumed."""

from __future__ import annotations

import pickle
from typing import Any

from skygrid.plan.fingerprint import digest
from skygrid.plan.records import RoundPlan
from skygrid.worker.user_code.pickling import StayingPickler

STORED_BYTES = 64 * 1024 * 1024
"""A larger plan is not kept in the journal; a resumed run must then draw the same one again."""


def pack(plan: RoundPlan) -> tuple[bytes, str]:
    """Return the pickle of a plan, or, of one that is too large, its digest.

    A large plan is never copied: pickling ends with the first value that goes past the limit.

    Returns
    -------
    pickled : bytes
        Empty where the plan is too large.
    digest : str
        Empty where it is not.
    """
    content = (list(plan.candidates), list(plan.splits))
    small: Any = _Bounded(STORED_BYTES)
    try:
        # By name: a resumed run loads the search file first, and its candidates hold those classes.
        StayingPickler(small, protocol=5, buffer_callback=small.fits).dump(content)
    except _TooLarge:
        return b"", digest(content)
    return b"".join(small.parts), ""


def unpack(round: int, pickled: bytes) -> RoundPlan:
    """Return the plan that was pickled."""
    candidates, splits = pickle.loads(pickled)
    return RoundPlan(round=round, candidates=candidates, splits=splits)


class _TooLarge(Exception):
    pass


class _Bounded:
    """A file for a pickle, with a limit on its bytes."""

    def __init__(self, most: int) -> None:
        self.parts: list[bytes] = []
        self._room = most

    def write(self, data: Any) -> int:
        """Keep the next bytes of the pickle."""
        size = memoryview(data).nbytes
        self._room -= size
        if self._room < 0:
            raise _TooLarge
        self.parts.append(bytes(data))
        return size

    def fits(self, buffer: pickle.PickleBuffer) -> bool:
        """Have an array written into the pickle, unless it is too large for that."""
        if buffer.raw().nbytes > self._room:
            raise _TooLarge
        return True
