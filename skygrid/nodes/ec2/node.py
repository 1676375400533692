"""One EC2 node: launch or adopt it, log in, replace its host key.

With its own host key it is an ordinary host of `nodes.ssh.agent_host`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from skygrid.config import limits
from skygrid.environment.kit import Kit
from skygrid.errors import NodeError
from skygrid.nodes.ec2.launch.host_key import replace_host_key
from skygrid.nodes.ec2.launch.keys import RunKeys, make_key_pair
from skygrid.nodes.ec2.launch.user_data import BootOrders, user_data
from skygrid.nodes.interface import Watcher
from skygrid.nodes.ssh.agent_host import AgentPlace, HostNode
from skygrid.nodes.ssh.channel import BridgeChannel
from skygrid.nodes.ssh.connection import Connection
from skygrid.nodes.ssh.failures import ChangedHostKeyError, HostError, KeyRefusedError
from skygrid.nodes.ssh.targets import Target

from .fleet import Fleet, InstanceGoneError
from .records import CloudNode

LOGGER = logging.getLogger(__name__)

Orders = Callable[[str, str, str], BootOrders]
"""Returns the `BootOrders` of a launch, given the run's public key and a host key pair."""


class Ec2Node:
    """Connector to the agent of one node; `connect` serves `nodes.ssh.reconnecting`.

    Parameters
    ----------
    name : str
        Name of the node within the run.
    fleet : Fleet
    keys : RunKeys
    orders : callable
        Makes the `BootOrders` of a launch.
    way : callable
        Returns the `Target` for an address and an instance id.
    launch_seconds : float
        Time limit from launch to the first login.
    """

    def __init__(
        self,
        name: str,
        fleet: Fleet,
        keys: RunKeys,
        orders: Orders,
        way: Callable[[str, str], Target],
        launch_seconds: float,
    ) -> None:
        self.name = name
        self._fleet = fleet
        self._keys = keys
        self._orders = orders
        self._way = way
        self._launch_seconds = launch_seconds
        self._closed = threading.Event()
        self._host: HostNode | None = None
        self.instance: CloudNode | None = None
        self.ended = False
        """True if this session terminated its instance."""

        self.reached = False
        """True once an agent on it was connected."""

        self.refused = False
        """True if AWS refused the launch; another attempt would fail too."""

        self.trouble: Exception | None = None
        """Error of the last attempt to connect; None after a success."""

    def serve(self, place: AgentPlace, kit: Future[Kit], watcher: Watcher) -> None:
        """Let the next connections lead to a new agent.

        Parameters
        ----------
        place : AgentPlace
        kit : Future of Kit
        watcher : Watcher
            Receives state changes.
        """
        self._closed.clear()
        self._place, self._kit, self._watcher = place, kit, watcher
        self._host = None

    def connect(self) -> BridgeChannel:
        """Make a new connection; the first one launches the instance if it is missing.

        Raises
        ------
        NodeError
            If another attempt would fail too.
        OSError
            If another attempt may succeed.
        """
        try:
            channel = self._ready_host().connect()
        except OSError as error:
            self.trouble = error
            self._diagnose()
            raise
        except NodeError as error:
            self.trouble = self._explained(error)
            raise self.trouble from error
        self.reached, self.trouble = True, None
        return channel

    def close(self) -> None:
        """Abort an attempt to connect."""
        self._closed.set()
        host = self._host
        if host is not None:
            host.close()

    # -- until it can be used as any host

    def _ready_host(self) -> HostNode:
        if self._host is None:
            instance = self._launched()
            opened = None if self._is_own_key(instance) else self._enter(instance)
            target = self._target(instance)
            self._host = HostNode(target, self._place, self._kit, self._watcher, opened=opened)
            if self._closed.is_set():
                self._host.close()
        return self._host

    def _launched(self) -> CloudNode:
        """Return the instance, running, with an address and a pinned host key."""
        if self.instance is None:
            self.instance = self._found() or self._launch()
            self._check_wanted()
            self.instance = self._fleet.wait_running(self.instance, self._watcher.state)
        return self.instance

    def _found(self) -> CloudNode | None:
        """Return an instance of an earlier session if its host key is pinned."""
        found = self._fleet.adopt(self.name)
        if found is None:
            return None
        if self._keys.pinned(found.instance_id) is None:
            first = self._keys.pinned(self.name)
            if first is None:
                # Without a pinned key the instance cannot be verified.
                LOGGER.info("%s: %s has no known host key", self.name, found.instance_id)
                self._fleet.end(found)
                return None
            self._keys.pin(found.instance_id, first)
        return found

    def _launch(self) -> CloudNode:
        pair = make_key_pair()
        # Pin before the launch: if the driver dies now, the next session must recognise the
        # instance.
        self._keys.pin(self.name, pair.public)
        orders = self._orders(self._keys.public, pair.private, pair.public)
        try:
            node = self._fleet.launch(self.name, user_data(orders), self._watcher.state)
        except NodeError:
            self.refused = True
            raise
        self._keys.pin(node.instance_id, pair.public)
        return node

    def _is_own_key(self, instance: CloudNode) -> bool:
        return self._keys.pinned(instance.instance_id) != self._keys.pinned(self.name)

    def _target(self, instance: CloudNode) -> Target:
        return self._way(self._fleet.address(instance), instance.instance_id)

    def _enter(self, instance: CloudNode) -> Connection:
        """Log in as soon as possible, replace the host key, and log in again with the new one."""
        self._watcher.state("booting")
        connection = self._first_login(instance)
        try:
            public = replace_host_key(connection)
        finally:
            connection.close()
        self._keys.pin(instance.instance_id, public)
        LOGGER.info("%s: %s has a new host key", self.name, instance.instance_id)
        return self._by_new_key(instance)

    def _first_login(self, instance: CloudNode) -> Connection:
        begin = time.monotonic()
        next_look, target = begin + limits.EC2_BOOT_LOOK, self._target(instance)
        while True:
            pause = limits.EC2_BOOT_PAUSE
            try:
                return Connection(target, limits.EC2_BOOT_SOCKET)
            except KeyRefusedError as error:
                # sshd may start before the user's key is in place. A jump host's refusal is final.
                if not self._is_about(error, instance):
                    raise
                trouble: Exception = error
                pause = limits.EC2_REFUSED_PAUSE
            except OSError as error:
                trouble = error
            LOGGER.debug("%s: no login yet: %s", self.name, trouble)
            now = time.monotonic()
            if now - begin > self._launch_seconds:
                raise HostError(
                    f"no login to {instance.instance_id} succeeded within "
                    f"{self._launch_seconds:.0f} s (launch_timeout): {trouble}"
                ) from trouble
            if now >= next_look:
                next_look = now + limits.EC2_BOOT_LOOK
                self._diagnose()
            self._closed.wait(pause)
            self._check_wanted()

    def _by_new_key(self, instance: CloudNode) -> Connection:
        """Log in again with the new key.

        Until sshd has reloaded it presents the old key, and for a moment it does not listen.
        """
        until = time.monotonic() + limits.EC2_KEY_RELOAD
        while True:
            try:
                return Connection(self._target(instance))
            except (ChangedHostKeyError, OSError):
                if time.monotonic() > until:
                    raise
                self._closed.wait(0.05)

    def _check_wanted(self) -> None:
        if self._closed.is_set():
            raise HostError("it was given up")

    # -- when it cannot be reached

    def _diagnose(self) -> None:
        """Check whether the instance ended, and admit this machine again if its address changed.

        Raises
        ------
        InstanceGoneError
            If the instance ended.
        """
        if self.instance is None:
            return
        reason = self._fleet.gone(self.instance)
        if reason is not None:
            self.trouble = InstanceGoneError(f"instance {self.instance.instance_id} {reason}")
            raise self.trouble
        repaired = self._fleet.repair_access()
        if repaired:
            self._watcher.state(repaired)

    @staticmethod
    def _is_about(error: HostError, instance: CloudNode) -> bool:
        """Return True if the error concerns the instance, not a jump host."""
        return instance.instance_id in str(error)

    def _explained(self, error: NodeError) -> NodeError:
        """Explain a changed host key: another machine answers at the address."""
        if self.instance is None or not isinstance(error, ChangedHostKeyError):
            return error
        if not self._is_about(error, self.instance):
            return error
        reason = self._fleet.gone(self.instance)
        if reason is not None:
            return InstanceGoneError(f"instance {self.instance.instance_id} {reason}")
        return HostError(
            f"the machine at {self._fleet.address(self.instance)} has another host key than "
            f"{self.instance.instance_id}: it was not trusted and received nothing"
        )
