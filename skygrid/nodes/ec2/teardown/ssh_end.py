"""End of nodes over SSH, for use if the API fails to end them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from skygrid.config import limits
from skygrid.errors import NodeError
from skygrid.nodes.ec2.launch.user_data import END_WORD, LEASE_FILE
from skygrid.nodes.ec2.records import CloudNode
from skygrid.nodes.ssh.channel import run_for_output
from skygrid.nodes.ssh.connection import Connection
from skygrid.nodes.ssh.targets import Target

MOST_AT_ONCE = 16


def end_over_ssh(
    nodes: Sequence[CloudNode], way: Callable[[CloudNode], Target]
) -> tuple[list[CloudNode], list[str]]:
    """Write the end word into each node's lease, so that its watchdog powers it off.

    Returns
    -------
    told, notes
        Nodes that were reached, and the errors of the others.
    """
    if not nodes:
        return [], []
    with ThreadPoolExecutor(min(len(nodes), MOST_AT_ONCE), thread_name_prefix="end") as pool:
        troubles = list(pool.map(lambda node: _tell(node, way), nodes))
    told = [node for node, trouble in zip(nodes, troubles, strict=True) if not trouble]
    return told, [trouble for trouble in troubles if trouble]


def _tell(node: CloudNode, way: Callable[[CloudNode], Target]) -> str:
    command = f"exec sh -c 'echo {END_WORD} >{LEASE_FILE}'"
    try:
        connection = Connection(way(node), limits.EC2_GOODBYE)
        try:
            status, _, message = run_for_output(connection, command, limits.EC2_GOODBYE)
        finally:
            connection.close()
    except (OSError, NodeError) as error:
        return f"{node.instance_id} could not be told over SSH to end itself: {error}"
    return f"{node.instance_id} cannot end itself: {message}" if status else ""
