"""What a transport is: bytes to and from the agent of one node."""

from __future__ import annotations

from typing import Protocol

from skygrid.errors import NodeError
from skygrid.worker.wire.blobs import Blob


class Watcher(Protocol):
    """Is told what a transport does, on the transport's own threads."""

    def state(self, text: str) -> None:
        """What goes on with the node: connecting, preparing, working."""

    def log(self, data: bytes) -> None:
        """Bytes for the node's log."""


class Transport(Protocol):
    """One agent's channel. Reading, reading the log and writing have a thread each."""

    shares_files: bool
    """Whether the agent can open this process's files: it runs on this machine, as this user."""

    def start(self) -> None:
        """Start the agent, or connect to it.

        Raises
        ------
        NodeError
            If that cannot be done; the message says why and what to do.
        """

    def read(self) -> bytes:
        """Wait for bytes from the agent; empty when there will be none any more."""

    def read_log(self) -> bytes:
        """Wait for bytes of the agent's log; empty when there will be none any more."""

    def write(self, data: bytes) -> None:
        """Send bytes to the agent.

        Raises
        ------
        OSError
            If the agent is gone.
        """

    def url_of(self, blob: Blob) -> str | None:
        """Where the agent can fetch a blob by itself; None where it has to be sent.

        May take as long as it takes to bring the blob there.
        """

    def mending(self) -> bool:
        """Whether the connection is broken and being made anew: silence means nothing then."""

    def ended(self) -> str:
        """How the agent ended, for a person: ``killed by SIGKILL``, ``exit code 1``."""

    def error(self) -> NodeError | None:
        """Why the channel ended, if a new agent on the node could not mend that."""

    def kill(self) -> None:
        """End the agent at once; never waits."""

    def close(self) -> None:
        """End the channel, and the agent with everything it started; may be called at any time."""
