"""Shared polling of all instances of a run.

With one poll per waiting thread AWS would throttle the calls. Instead the first thread that finds
the last poll too old polls for all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from skygrid.config import limits
from skygrid.errors import NodeError
from skygrid.nodes.ec2.api import Clients, api_errors
from skygrid.nodes.ec2.api_errors import Decision, judge
from skygrid.nodes.ec2.records import CloudNode

from .requests import RUN, from_answer

LOGGER = logging.getLogger(__name__)

FACTOR = 1.3
"""Growth of the polling interval while a thread waits for an instance."""


NO_KEY = (
    "the credentials may not use the key that encrypts the account's volumes; `skygrid doctor "
    "--on aws` names it, and guides/aws.md has the policy"
)
FULL = (
    "the account's volumes are at their quota: make disk_gb under [aws] smaller, or take fewer "
    "nodes"
)
ADVICE = (
    ("Client.InternalError", NO_KEY),
    ("Client.InvalidKMSKey", NO_KEY),
    ("Client.VolumeLimitExceeded", FULL),
)
"""Next step by the reason with which an instance ends right after its launch:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html"""


class InstanceGoneError(NodeError):
    """The instance of a node has ended; a new one can replace it."""


def find_instances(clients: Clients, filters: dict[str, list[str]]) -> list[CloudNode]:
    """Return all instances that match these filters of ``DescribeInstances``."""
    return [from_answer(one, clients.region) for one in clients.described("instances", filters)]


class Watch:
    """Last known state of a run's instances. Thread-safe.

    Parameters
    ----------
    clients : Clients
    run_id : str
    clock : callable
        Returns seconds since the epoch.
    """

    def __init__(
        self, clients: Clients, run_id: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._clients = clients
        self._run_id = run_id
        self._clock = clock
        self._looking = threading.Lock()
        self._lock = threading.Condition()
        self._stopped = False
        self._known: dict[str, CloudNode] = {}
        self._ended: dict[str, float] = {}
        self._looked_at = 0.0
        self._interval = limits.EC2_LOOK_FIRST

    def stop(self) -> None:
        """Make all waiting threads raise."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def add(self, node: CloudNode) -> None:
        """Add a launched instance and reset the polling interval."""
        with self._lock:
            self._known.setdefault(node.instance_id, node)
            self._interval = limits.EC2_LOOK_FIRST

    def nodes(self) -> list[CloudNode]:
        """Return all known instances by launch time."""
        with self._lock:
            found = list(self._known.values())
        return sorted(found, key=lambda one: (one.launched_at, one.node))

    def get(self, instance_id: str) -> CloudNode | None:
        """Return an instance as last seen, or None."""
        with self._lock:
            return self._known.get(instance_id)

    def ends(self) -> dict[str, float]:
        """Return the times at which instances were first seen gone, in seconds since the epoch,
        by id."""
        with self._lock:
            return dict(self._ended)

    def look(self, not_older_than: float) -> bool:
        """List all instances, unless the last listing is recent enough.

        Parameters
        ----------
        not_older_than : float
            Accepted age of the last listing, in seconds.

        Returns
        -------
        looked : bool
            True if the API was called.

        Raises
        ------
        Exception
            An error of `api_errors`.
        """
        asked = time.monotonic()
        with self._looking:
            if self._looked_at >= asked or asked - self._looked_at < not_older_than:
                return False
            found = find_instances(self._clients, {f"tag:{RUN}": [self._run_id]})
            self._looked_at = time.monotonic()
            self.take_in(found)
            return True

    def take_in(self, found: list[CloudNode]) -> None:
        """Note the state of these instances, and when each was first seen to be gone."""
        now = self._clock()
        with self._lock:
            for node in found:
                self._known[node.instance_id] = node
                if node.gone and node.instance_id not in self._ended:
                    LOGGER.info("%s: %s %s", node.node, node.instance_id, gone_text(node))
                    self._ended[node.instance_id] = now
            self._lock.notify_all()

    def wait(
        self,
        node: CloudNode,
        ready: Callable[[CloudNode], bool],
        seconds: float,
        say: Callable[[str], None],
    ) -> CloudNode:
        """Wait until `ready` accepts an instance.

        Raises
        ------
        InstanceGoneError
            If the instance ends.
        NodeError
            If the wait exceeds `seconds` or the API stops answering.
        """
        deadline = time.monotonic() + seconds
        said = ""
        while True:
            self._look_while_waiting(deadline)
            seen = self.get(node.instance_id) or node
            if seen.gone:
                raise InstanceGoneError(
                    f"{node.node}: the instance {node.instance_id} {gone_text(seen)}"
                )
            if ready(seen):
                return seen
            if time.monotonic() > deadline:
                raise NodeError(
                    f"{node.node}: the instance {node.instance_id} is still {seen.state} "
                    f"{seconds:g} s after its launch. Try again, with another zone or type, or "
                    "with a longer launch_timeout under [aws]"
                )
            if seen.state != said:
                said = seen.state
                say(f"{seen.instance_type} {seen.instance_id} is {seen.state}")
            self._pause()

    def _pause(self) -> None:
        with self._lock:
            if not self._stopped:
                self._lock.wait(self._interval)
            if self._stopped:
                raise NodeError("the run is being ended: its instances are not waited for any more")

    def _look_while_waiting(self, deadline: float) -> None:
        try:
            looked = self.look(self._interval * 0.9)
        except api_errors() as error:
            failure = judge(error, "ec2:DescribeInstances", self._clients.region)
            if failure.decision is not Decision.BACK_OFF or time.monotonic() > deadline:
                raise NodeError(failure.text) from error
            LOGGER.debug("instances are listed again later: %s", failure.text)
            self._slow_down(2.0)
        else:
            if looked:
                self._slow_down(1.0)

    def _slow_down(self, times: float) -> None:
        with self._lock:
            self._interval = min(limits.EC2_LOOK_LONGEST, self._interval * FACTOR * times)


def gone_text(node: CloudNode) -> str:
    """Return state and reason of an instance that ended, to follow its id in a sentence."""
    said = f"is {node.state}" + (f" ({node.reason})" if node.reason else "")
    advice = next((text for code, text in ADVICE if node.reason.startswith(code)), "")
    return f"{said}: {advice}" if advice else said
