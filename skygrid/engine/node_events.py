"""Events of a node for the engine: messages, changes of its state, and its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from skygrid.errors import SkygridError

if TYPE_CHECKING:
    from skygrid.engine.link import Link


class Gone(msgspec.Struct, frozen=True):
    """The channel of a node has ended, or could not be opened."""

    reason: str
    error: SkygridError | None = None
    at_fault: bool = False
    """True if the node broke the protocol or sent false messages: no fit can have caused it."""


Cure = Literal["agent", "machine", "nothing"]
"""Replacement for a failed node: a new agent there, only another machine, or none."""


class LinkFailure(Exception):
    """A node must be given up: it may not work here, or sent a message that cannot be true.

    Parameters
    ----------
    cure : {"agent", "machine", "nothing"}, default="agent"
        The replacement that may work.
    """

    def __init__(self, gone: Gone, *, cure: Cure = "agent") -> None:
        super().__init__(gone.reason)
        self.gone, self.cure = gone, cure


class NodeState(msgspec.Struct, frozen=True):
    """State of a node before it works, or while its connection is restored."""

    text: str


@dataclass(frozen=True)
class Event:
    """A message from a node."""

    link: Link
    message: Any
    """One of `worker.wire.messages.from_agent.FromAgent`, `NodeState` or `Gone`."""

    n_bytes: int = 0
    """Size of the message on the wire."""
