"""A round of calls on a node reports all that ended."""

from __future__ import annotations

import os
import selectors
import subprocess
from pathlib import Path
from typing import Any

from skygrid.worker.agent.calls import AgentCalls
from skygrid.worker.agent.driver_link import DriverLink
from skygrid.worker.agent.guard import SlotGuard
from skygrid.worker.limits import MAX_FRAME
from skygrid.worker.slots.pool import SlotPool
from skygrid.worker.slots.slot_news import SlotNews
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.calls import Call, CallDone, CallReport
from skygrid.worker.wire.messages.from_agent import FromAgent
from skygrid.worker.wire.messages.to_agent import Lease, Setup
from skygrid.worker.wire.protocol import PROTOCOL


def sleeping(*_: Any) -> int:
    """Start a slot that does nothing."""
    return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid


def test_ends_that_are_too_large_for_one_message_are_reported_in_several(tmp_path: Path) -> None:
    """Calls that end at one time with long texts are all reported, each once."""
    leases = [Lease(id=number, candidate=number, split=0) for number in range(1, 6)]
    text = "x" * (MAX_FRAME // 3)
    pool = SlotPool(1, sleeping)
    pool.open_round(7, [], None)
    with (
        (tmp_path / "sent").open("w+b", buffering=0) as sent,
        Path(os.devnull).open("rb") as source,
    ):
        calls = AgentCalls(
            7,
            pool,
            1,
            SlotGuard(Setup(protocol=PROTOCOL)),
            DriverLink(source.fileno(), sent.fileno()),
            selectors.DefaultSelector(),
            folder=tmp_path,
            data=None,  # type: ignore[arg-type]  # no call has a blob
        )
        try:
            calls.called(leases, [Call(lease=lease.id, data=b"") for lease in leases])
            for lease in leases:
                done = CallDone(lease=lease.id, slot=0, status="raised", fit_error=text)
                calls._take_news([SlotNews(call=done)])
            calls.turn(0.0, asks=False, speaks=False)
        finally:
            calls.close()
            pool.close()
        messages = list(FrameReader(FromAgent).feed((tmp_path / "sent").read_bytes()))
    reports = [message for message in messages if isinstance(message, CallReport)]
    assert len(reports) > 1
    ended = [done.lease for report in reports for done in report.results]
    assert ended == [lease.id for lease in leases]
