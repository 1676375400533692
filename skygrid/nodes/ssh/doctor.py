"""Examination of one host."""

from __future__ import annotations

import time

from skygrid.config import limits
from skygrid.environment.shell_commands import Probe, probe, read_probe
from skygrid.util.terminal_text import printable

from .channel import read_output
from .connection import Connection
from .targets import Target


def look_at(target: Target, root: str) -> tuple[Probe, float]:
    """Connect to a host and probe it; nothing is changed there.

    Parameters
    ----------
    target : Target
    root : str
        Folder for skygrid on the host.

    Returns
    -------
    probe : Probe
    seconds : float
        Time to connect.

    Raises
    ------
    NodeError
        If the host cannot be used without a change, or its answer cannot be parsed.
    OSError
        If the connection fails for a reason that may pass.
    """
    begin = time.monotonic()
    connection = Connection(target)
    try:
        connected = time.monotonic() - begin
        output = read_output(connection, probe(root), limits.SSH_PROBE)
        found = read_probe(printable(output.decode(errors="replace"), len(output)))
        return found, connected
    finally:
        connection.close()
