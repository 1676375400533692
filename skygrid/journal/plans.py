"""The plan of a round as bytes, for resumed runs."""

from __future__ import annotations

import pickle
from typing import Any

from skygrid.plan.fingerprint import digest
from skygrid.plan.records import RoundPlan
from skygrid.worker.user_code.pickling import StayingPickler

STORED_BYTES = 64 * 1024 * 1024
"""Maximum size of a plan in the journal, in bytes; of a larger one only the digest is kept."""


def pack(plan: RoundPlan) -> tuple[bytes, str]:
    """Return the pickle of a plan and "", or b"" and the digest of a plan that is too large.

    A large plan is never copied: pickling stops at the first value beyond the limit.
    """
    content = (list(plan.candidates), list(plan.splits))
    small: Any = _Bounded(STORED_BYTES)
    try:
        # Classes by name: a resumed run loads the search file first, so they can be imported.
        StayingPickler(small, protocol=5, buffer_callback=small.fits).dump(content)
    except _TooLarge:
        return b"", digest(content)
    return b"".join(small.parts), ""


def unpack(round: int, pickled: bytes) -> RoundPlan:
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
        """Accept an array in the pickle, unless it is too large."""
        if buffer.raw().nbytes > self._room:
            raise _TooLarge
        return True
