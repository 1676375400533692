"""A look at a host: can it be reached, and what does it have."""

from __future__ import annotations

import time

from skygrid.config import limits
from skygrid.environment.shell_commands import Probe, probe, read_probe
from skygrid.util.terminal_text import printable

from .channel import read_output
from .connection import Connection
from .targets import Target


def look_at(target: Target, root: str) -> tuple[Probe, float]:
    """Connect to a host and ask what it has; changes nothing there.

    Parameters
    ----------
    target : Target
    root : str
        Folder that skygrid is to use there.

    Returns
    -------
    probe : Probe
    seconds : float
        Time that it took to connect.

    Raises
    ------
    NodeError
        If the host cannot be used as things are, or answers nothing that can be read.
    OSError
        If it cannot be reached for a reason that may pass.
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
