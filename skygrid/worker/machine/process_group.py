"""Names of signals, and the end of processes that remain of a session after its leader."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path


def end_session(leader: int) -> None:
    """Send SIGKILL to every process of a session that outlived its leader. Linux only.

    Parameters
    ----------
    leader : int
        Process id of the leader, which was reaped; identifies the session.
    """
    # The kernel reuses the id only after the whole session has ended. If a process has it now, the
    # id names a foreign session.
    if sys.platform != "linux" or Path(f"/proc/{leader}").exists():
        return
    for pid in _members(leader):
        # The id may be reused before the signal is sent; a descriptor stays with its process.
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
    """Return the session of a process, or 0 if the process is gone."""
    try:
        return os.getsid(pid)
    except OSError:  # it has just ended
        return 0


def signal_name(number: int) -> str:
    """Return the name of a signal; Python has none for most real-time signals."""
    known = number in {one.value for one in signal.Signals}
    return signal.Signals(number).name if known else f"signal {number}"


def wait_for_end(pid: int) -> tuple[int, int]:
    """Wait for the end of a child process and reap it.

    Returns
    -------
    code : int
        Its wait status, see `os.waitstatus_to_exitcode`.
    peak_bytes : int
        Most memory that it had.
    """
    # os.wait4 looks for `resource` among the imported modules, and a module of the user may have
    # that name.
    found = sys.modules.get("resource")
    sys.modules["resource"] = resource
    try:
        _, code, usage = os.wait4(pid, 0)
    finally:
        if found is None:
            del sys.modules["resource"]
        else:
            sys.modules["resource"] = found
    return code, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
