"""Replacement of a node's host key by one made on the node.

The first host key travels in the user-data, which anyone with access to the instance's attributes
can read. It serves for the first login only.
"""

from __future__ import annotations

import re
import shlex

from skygrid.config import limits
from skygrid.nodes.ssh.channel import run_for_output
from skygrid.nodes.ssh.connection import Connection
from skygrid.nodes.ssh.failures import HostError

from .user_data import read_script

_ANSWER = re.compile(r"^skygrid-host-key (ssh-ed25519 [A-Za-z0-9+/=]{40,200})", re.MULTILINE)


def command(folder: str = "/etc/ssh") -> str:
    """Return the script that makes the new key."""
    return shlex.join(["exec", "sh", "-c", read_script("host_key.sh"), "skygrid", folder])


def replace_host_key(connection: Connection) -> str:
    """Make a new host key on a node and return its public half.

    Raises
    ------
    HostError
        If the node fails; the message has the reason.
    OSError
        If the connection breaks.
    """
    status, output, message = run_for_output(connection, command(), limits.EC2_HOST_KEY)
    found = _ANSWER.search(output.decode(errors="replace"))
    if status or found is None:
        raise HostError(f"the node could not be given a host key of its own: {message}")
    return found[1]
