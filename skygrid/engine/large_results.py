"""Large results of calls, fetched from nodes part by part."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from skygrid.engine.link import Link
from skygrid.engine.node_events import Gone, LinkFailure
from skygrid.worker.limits import CHUNK_BYTES
from skygrid.worker.wire.messages.calls import CallDone, FetchResult, ResultPart

PARTS_AHEAD = 4
"""Parts that are requested before the first has arrived."""


@dataclass(frozen=True, kw_only=True)
class _Incoming:
    """A result on its way."""

    done: CallDone
    content: bytearray = field(default_factory=bytearray)


class LargeResults:
    """The large results of a round. A node sends one at a time, so that other messages pass."""

    def __init__(self) -> None:
        self.round = -1
        """Number of the round on the wire."""

        self._of: dict[str, deque[_Incoming]] = {}
        """Results of each node, the one that is being fetched first."""

    def fetch(self, link: Link, done: CallDone) -> None:
        """Fetch a result, after those that the node reported before."""
        waiting = self._of.setdefault(link.name, deque())
        waiting.append(_Incoming(done=done))
        if len(waiting) == 1:
            self._begin(link, done)

    def delete(self, link: Link, done: CallDone) -> None:
        """Make the node delete a result."""
        self._ask(link, done, done.size)

    def forget(self, link: Link) -> None:
        """Forget the results of a node that is lost."""
        self._of.pop(link.name, None)

    def take(self, link: Link, part: ResultPart) -> _Incoming | None:
        """Add a part; return the result if it is whole now.

        Raises
        ------
        LinkFailure
            If the part was not requested, or is not the next one.
        """
        waiting = self._of.get(link.name)
        if not waiting or waiting[0].done.lease != part.lease:
            raise LinkFailure(Gone("it sent a result that was not requested", at_fault=True))
        done, content = waiting[0].done, waiting[0].content
        if not part.data:
            raise LinkFailure(Gone("it lost a result"))
        if part.offset != len(content) or part.offset + len(part.data) > done.size:
            raise LinkFailure(Gone("it sent a result in disorder", at_fault=True))
        content += part.data
        further = part.offset + PARTS_AHEAD * CHUNK_BYTES
        if further < done.size:
            self._ask(link, done, further)
        if len(content) < done.size:
            return None
        whole = waiting.popleft()
        self.delete(link, done)
        if waiting:
            self._begin(link, waiting[0].done)
        return whole

    def _begin(self, link: Link, done: CallDone) -> None:
        for offset in range(0, min(done.size, PARTS_AHEAD * CHUNK_BYTES), CHUNK_BYTES):
            self._ask(link, done, offset)

    def _ask(self, link: Link, done: CallDone, offset: int) -> None:
        link.granted += 1  # the node may send a message more
        link.send(FetchResult(round=self.round, lease=done.lease, offset=offset))
