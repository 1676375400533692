"""Connections to an agent on a host: connect, prepare the host if needed, start or find the
agent."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from typing import Any

from skygrid.config import limits
from skygrid.environment.credentials import masked
from skygrid.environment.kit import Kit
from skygrid.environment.shell_commands import run_python, unpack_and_prepare
from skygrid.errors import NodeError
from skygrid.nodes.interface import Watcher

from .channel import BridgeChannel, BridgeFailedError, NotPreparedError, read_output, run_command
from .connection import Connection
from .failures import HostError, NoCommandError, UnreachableError
from .targets import Target

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AgentPlace:
    """Location and command line of an agent on a host."""

    root: str
    """Folder of skygrid on the host, in the host's spelling."""

    name: str
    """The agent's folder below ``agents``; a resumed run finds the agent by it."""

    arguments: Sequence[str]
    """Command-line arguments of the agent."""

    cache_max_gb: float
    """Limit of the data kept for later runs, in GiB."""

    hash_seed: int
    """PYTHONHASHSEED of the agent."""

    orphan_after: float
    """Seconds without a driver after which the agent exits."""

    lease: str | None = None
    """File that is touched while a driver is connected; None for hosts that do not end
    themselves."""

    def bridge_arguments(self, kit: Kit, *, start: bool) -> list[str]:
        """Return the arguments of the bridge; with `start`, it starts the agent if it is
        missing."""
        # Commands run in `root`, with the environment's Python first on the PATH.
        arguments = ["--folder", f"agents/{self.name}", "--orphan-after", f"{self.orphan_after:g}"]
        if self.lease is not None:
            arguments += ["--lease", self.lease]
        if start:
            arguments += ["--kit", f"{kit.environment_key}-{kit.code_key}"]
            arguments += ["--", "env", f"PYTHONHASHSEED={self.hash_seed}"]
            arguments += ["python", "-P", "-m", "skygrid.worker", *self.arguments]
            arguments += ["--cache", "blobs", "--cache-max-gb", f"{self.cache_max_gb:g}"]
        return arguments


class _Renewal:
    """Renewal of a host's lease until a keeper runs there."""

    def __init__(self, connection: Connection, lease: str | None) -> None:
        self._connection, self._lease = connection, lease
        self._next = 0.0

    def turn(self) -> None:
        """Renew the lease if due. Raises OSError if the connection is broken."""
        if self._lease is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + limits.HOST_RENEW
            read_output(
                self._connection, f"touch -c {shlex.quote(self._lease)}", limits.HOST_ANSWER
            )


class HostNode:
    """Connector to one agent; `connect` serves `nodes.ssh.reconnecting`.

    Parameters
    ----------
    target : Target
    place : AgentPlace
    kit : Future of Kit
        Kit for the host; it may be unfinished while connections are made.
    watcher : Watcher
        Receives state changes and the host's output.
    opened : Connection, optional
        An open connection to this host, used by the first call of `connect`.
    """

    def __init__(
        self,
        target: Target,
        place: AgentPlace,
        kit: Future[Kit],
        watcher: Watcher,
        *,
        opened: Connection | None = None,
    ) -> None:
        self._target = target
        self._place = place
        self._kit = kit
        self._watcher = watcher
        self._last_state = ""
        self._started = False
        self._opened = self._connection = opened
        self._closed: Future[None] = Future()

    def connect(self) -> BridgeChannel:
        """Make a new connection; the first one prepares the host and starts the agent.

        Raises
        ------
        NodeError
            If another attempt would fail too.
        OSError
            If another attempt may succeed.
        """
        if not self._started:
            self._tell("connecting")
        opened, self._opened = self._opened, None
        connection = self._connection = opened or Connection(self._target)
        try:
            if self._closed.done():
                raise HostError("the connection was given up")
            channel = self._channel(connection)
        except NotPreparedError as error:
            connection.close()
            raise HostError(
                "it is not ready although its preparation succeeded: see its log"
            ) from error
        except (NoCommandError, BridgeFailedError) as error:
            connection.close()
            if not self._started:
                raise
            # The agent works on, and the host ran commands before: it may lack processes for now.
            raise UnreachableError(str(error)) from error
        except BaseException:
            connection.close()
            raise
        self._started = True
        return channel

    def close(self) -> None:
        """Abort an attempt to connect and close its connection."""
        if not self._closed.done():
            self._closed.set_result(None)
        connection = self._connection
        if connection is not None:
            connection.close()

    def _tell(self, state: str) -> None:
        if state != self._last_state:
            self._last_state = state
            self._watcher.state(state)

    def _channel(self, connection: Connection) -> BridgeChannel:
        renewal = _Renewal(connection, self._place.lease)
        kit = self._wait_for_kit(renewal)
        prepared = repaired = False
        while True:
            try:
                return self._bridge(connection, kit)
            except NotPreparedError:
                if prepared:
                    raise
                LOGGER.debug("%s lacks %s", self._target.spelled, kit.environment_key)
            except BridgeFailedError as error:
                # Files that are kept on the host may be damaged. A bridge that worked before is
                # tried again by the caller.
                if repaired or self._started:
                    raise
                LOGGER.info("%s is repaired: %s", self._target.spelled, error)
                repaired = True
            self._prepare(connection, kit, renewal, repair=repaired)
            prepared = True

    def _wait_for_kit(self, renewal: _Renewal) -> Kit:
        while not self._kit.done():
            renewal.turn()
            either: list[Future[Any]] = [self._kit, self._closed]
            wait(either, timeout=1.0, return_when=FIRST_COMPLETED)
            if self._closed.done():
                raise HostError("the connection was given up")
        try:
            return self._kit.result()
        except CancelledError:
            raise HostError("the connection was given up") from None

    def _bridge(self, connection: Connection, kit: Kit) -> BridgeChannel:
        arguments = self._place.bridge_arguments(kit, start=not self._started)
        command = run_python(self._place.root, kit.environment_key, kit.code_key, arguments)
        return BridgeChannel(connection, command, self._watcher.log, limits.HOST_BRIDGE)

    def _prepare(
        self, connection: Connection, kit: Kit, renewal: _Renewal, *, repair: bool
    ) -> None:
        self._tell("preparing")
        command = unpack_and_prepare(
            self._place.root, kit.environment_key, kit.code_key, repair=repair
        )
        status, message = run_command(
            connection, command, kit.data, self._watcher.log, limits.HOST_PREPARE, renewal.turn
        )
        if status:
            raise NodeError(f"it could not be prepared: {masked(message)}")
