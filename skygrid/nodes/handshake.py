"""The check that a node has the driver's protocol and versions."""

from __future__ import annotations

from collections.abc import Mapping

from skygrid.errors import HandshakeError
from skygrid.worker.machine.machine import COMPARED_PACKAGES
from skygrid.worker.wire.messages.from_agent import Greeting
from skygrid.worker.wire.protocol import PROTOCOL


def check_greeting(node: str, greeting: Greeting, driver: Mapping[str, str]) -> None:
    """Refuse a node whose scores could differ from the driver's own.

    Parameters
    ----------
    driver : mapping of str to str
        The driver's versions, from `worker.machine.machine.versions`.

    Raises
    ------
    HandshakeError
        Names every difference.
    """
    if greeting.protocol != PROTOCOL:
        raise HandshakeError(
            f"node {node} speaks protocol {greeting.protocol}, this skygrid speaks {PROTOCOL}: "
            "install the same skygrid on both"
        )
    differences = [
        f"{name} {greeting.versions.get(name, 'missing')} there, {driver[name]} here"
        for name in ("python", *COMPARED_PACKAGES)
        if _relevant(name, greeting.versions.get(name, "missing")) != _relevant(name, driver[name])
    ]
    if differences:
        raise HandshakeError(
            f"node {node} does not match this machine: {'; '.join(differences)}. "
            "Install the same versions on both"
        )


def _relevant(name: str, version: str) -> str:
    """Drop Python's patch release: pickles and bytecode depend on the minor release only."""
    return ".".join(version.split(".")[:2]) if name == "python" else version
