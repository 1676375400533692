"""Events of nodes, read from the driver's log."""

from __future__ import annotations

import re
import time
from collections.abc import Collection

from skygrid.reports.html.records import NodeEvent
from skygrid.reports.run_record import RunRecord

LOG_BYTES = 32 * 2**20
"""Largest log that is read, in bytes. A larger one leaves events out."""

MOST_EVENTS = 200
"""Maximum number of events of nodes in a page."""

_LINE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) skygrid\.reports\.progress: (.*)$", re.MULTILINE
)
_SHOWN = ("starting", "working", "leaving", "gone")
_DIED = re.compile(r": candidate \d+, split \d+ took its slot down: ")


def node_events(log: str, names: Collection[str], record: RunRecord) -> tuple[NodeEvent, ...]:
    """Return the times at which nodes started, worked, left or were lost.

    Parameters
    ----------
    log : str
        Content of ``logs/driver.log``, with local times.
    names : collection of str
        Names of the run's nodes.
    record : RunRecord
    """
    events = []
    for stamp, milliseconds, text in _LINE.findall(log):
        name, _, what = text.partition(": ")
        lost = name.removesuffix(" is lost")
        if lost in names and lost != name:
            name, what = lost, f"lost: {what}"
        elif name not in names or what not in _SHOWN:
            continue
        at = time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")) + int(milliseconds) / 1000
        events.append(NodeEvent(at=at - record.started_at, node=name, what=what))
    return tuple(events[:MOST_EVENTS])


def attempts_lost(log: str) -> int:
    """Return the number of attempts that took their slot down."""
    return sum(bool(_DIED.search(text)) for _, _, text in _LINE.findall(log))
