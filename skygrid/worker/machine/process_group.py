"""Ending what is left of a session of processes whose leader has ended. Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path


def end_session(leader: int) -> None:
    """SIGKILL to every process of a session that outlived its leader.

    Parameters
    ----------
    leader : int
        Process id of the leader, which has ended and was reaped; it names the session.
    """
    # The kernel gives the number out again only when nobody is left in the session; a process
    # that has it now belongs to somebody else, and so does its session.
    if sys.platform != "linux" or Path(f"/proc/{leader}").exists():
        return
    for pid in _members(leader):
        # The process may end, and its number go to another, before the signal is sent.
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if _session(pid) == leader:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)


def _members(leader: int) -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _session(int(entry)) == leader:
            yield int(entry)


def _session(pid: int) -> int:
    """Session of a process, 0 when it is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0
