"""A round of calls knows which nodes are busy with data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from skygrid.config import limits
from skygrid.engine.calls import CallEnd, CallRound, PendingCall
from skygrid.engine.round import RoundBlobs
from skygrid.queue.policies import QueuePolicies
from skygrid.worker.wire.blobs import Blob

NOTHING = Blob(None)


def opened() -> CallRound:
    """Return a round with one call, which node a holds."""
    blobs = RoundBlobs(data=NOTHING, search=NOTHING, plan=NOTHING)
    calls = CallRound(blobs, QueuePolicies(), lambda: None, 10.0)
    ends: list[CallEnd] = []
    assert calls.submit(PendingCall(data=b"", blobs=(), ended=ends.append))
    calls.take_arrivals()
    assert calls.queue.pull("a", 1, 0.0)
    return calls


def lost_at(calls: CallRound, now: float) -> list[str]:
    """Return the nodes that do no work, although they send heartbeats."""
    calls.queue.renew("a", now)
    return [name for name, _ in calls.queue.expire(now)]


def test_a_node_that_takes_arguments_keeps_its_calls() -> None:
    """A node whose arguments take longer than the limit for stalled nodes is kept."""
    calls = opened()
    link: Any = SimpleNamespace(greeting=None, sent_bytes=0)
    for step in range(1, 5):
        link.sent_bytes += 1000
        calls._links = {"a": link}
        calls._note_transfers(step * limits.STALL / 2)
    assert lost_at(calls, 2.4 * limits.STALL) == []
    calls._note_transfers(2.4 * limits.STALL)
    assert lost_at(calls, 3.1 * limits.STALL) == ["a"]
