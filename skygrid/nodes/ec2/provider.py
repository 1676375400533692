"""The provider of EC2 nodes for the engine."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from skygrid.config import RunConfig, limits
from skygrid.environment.awaited_kit import AwaitedKit
from skygrid.errors import NodeError
from skygrid.nodes.ec2.launch.keys import KEYS_FOLDER, RunKeys
from skygrid.nodes.ec2.launch.user_data import LEASE_FILE, BootOrders
from skygrid.nodes.ec2.teardown.ssh_end import end_over_ssh
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.records import Bill, RentedNode, TeardownReport
from skygrid.nodes.ssh.agent_host import AgentPlace
from skygrid.nodes.ssh.reconnecting import Patience, ResumingTransport
from skygrid.nodes.ssh.targets import SshOptions, Target, find_target
from skygrid.worker.wire.blobs import Blob

from .fleet import Fleet
from .node import Ec2Node
from .records import CloudNode, as_rented
from .s3_data import RunStorage

LOGGER = logging.getLogger(__name__)

FRUITLESS_LAUNCHES = 2
"""Number of successive unreachable nodes after which a place gets no replacement."""

_NAME = re.compile(r"(?P<place>aws-\d+)(?P<letter>[b-z])?(?:-(?P<number>\d+))?")


def node_name(place: str, generation: int) -> str:
    """Return the name of the n-th node at a place, from 1: ``aws-2``, ``aws-2b``, ...,
    ``aws-2-27``."""
    if generation == 1:
        return place
    return (
        f"{place}{chr(ord('a') + generation - 1)}" if generation < 27 else f"{place}-{generation}"
    )


def read_name(name: str) -> tuple[str, int]:
    """Return place and generation of a node's name; an unknown form is a place of generation 1."""
    found = _NAME.fullmatch(name)
    if found is None or (found["letter"] and found["number"]):
        return name, 1
    if found["letter"]:
        return found["place"], ord(found["letter"]) - ord("a") + 1
    return found["place"], int(found["number"] or 1)


class Ec2Provider:
    """The instances of a `Fleet` as nodes.

    Parameters
    ----------
    config : RunConfig
    run_id : str
        Id of the run; a resumed run finds its agents by it.
    fleet : Fleet
    folder : Path
        The run's folder; it holds the keys until nothing is left.
    expires_at : float
        Seconds since the epoch at which nodes end themselves in any case.
    progress : callable, optional
        Receives messages of uploads and the teardown.

    Attributes
    ----------
    report : TeardownReport or None
        The result of `close`.

    Raises
    ------
    ConfigError
        If the jump host is invalid.
    """

    shares_modules = False

    def __init__(
        self,
        config: RunConfig,
        run_id: str,
        fleet: Fleet,
        folder: Path,
        expires_at: float,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._config, self._aws = config, config.aws
        self._run_id = run_id
        self._fleet = fleet
        self._expires_at = expires_at
        self._progress = progress
        self._kit = AwaitedKit(config.environment)
        self._storage: RunStorage | None = None
        if self._aws.bucket is not None:
            over = self._aws.bucket_over_gb * 2**30
            self._storage = RunStorage(fleet.clients, self._aws.bucket, run_id, over, progress)
        self._keys = RunKeys(folder / KEYS_FOLDER)
        self._jump = find_target(self._aws.jump, SshOptions()) if self._aws.jump else None
        self._nodes: dict[str, Ec2Node] = {}
        self._retired: dict[str, threading.Timer] = {}
        self._lock = threading.Lock()
        self._closing = False
        self.report: TeardownReport | None = None

    # -- Provider

    def names(self) -> Sequence[str]:
        """Return aws-1, aws-2, ...: at each place the newest node left by an earlier session."""
        count = self._config.nodes or 1
        newest = {f"aws-{number}": f"aws-{number}" for number in range(1, count + 1)}
        for node in sorted(self._fleet.nodes(), key=lambda node: read_name(node.node)[1]):
            place = read_name(node.node)[0]
            if place in newest and not node.gone:
                newest[place] = node.node
        return list(newest.values())

    def set_modules(self, imported: Collection[str]) -> None:
        """Pack the kit, for which waiting connections continue."""
        self._kit.make(imported)

    def transport(self, name: str, watcher: Watcher) -> Transport:
        """Return a transport to an agent on this node; a missing instance is launched."""
        with self._lock:
            timer = self._retired.pop(name, None)
            if timer is not None:
                timer.cancel()
            node = self._nodes.get(name)
            if node is None or node.ended:
                node = self._nodes[name] = self._make_node(name)
        node.serve(self._place(name), self._kit.future, watcher)
        patience = Patience(
            # Ec2Node has a launch limit of its own; preparing the node comes on top.
            first_connect_seconds=self._aws.launch_timeout,
            give_up_seconds=self._aws.lost_after,
            longest_delay_seconds=limits.EC2_RECONNECT_LONGEST,
        )
        return ResumingTransport(
            node.connect,
            patience,
            on_state=watcher.state,
            on_end=lambda: self._schedule_end(node),
            url_of=self._url_of,
        )

    def successor(self, name: str) -> str | None:
        """Return the same node for a new agent, a new node for a lost machine, or None."""
        with self._lock:
            node = self._nodes[name]
            leaving = name not in self._retired
            if not leaving and node.trouble is None:
                return name
            if not self._aws.replace or node.refused or self._is_fruitless(name):
                LOGGER.info("%s: no other node is launched for it", name)
                return None
            place = read_name(name)[0]
            used = [*self._nodes, *(one.node for one in self._fleet.nodes())]
            latest = max(read_name(one)[1] for one in used if read_name(one)[0] == place)
            return node_name(place, latest + 1)

    def close(self) -> None:
        """End every instance and all that was made for them.

        Raises
        ------
        NodeError
            If something is left, or may be.
        """
        with self._lock:
            self._closing = True
            for timer in self._retired.values():
                timer.cancel()
        if self._storage is not None:
            self._storage.stop()
        report = self._fleet.teardown(self._progress)
        if not report.verified:
            report = self._end_over_ssh(report)
        self.report = report
        if not report.verified:
            raise NodeError(self._left_text(report))
        if trouble := self._keys.forget():
            self.report = msgspec.structs.replace(report, notes=(*report.notes, trouble))

    def _end_over_ssh(self, report: TeardownReport) -> TeardownReport:
        """Tell the remaining nodes over SSH to end themselves."""
        nodes = self._fleet.nodes()
        left = [node for node in nodes if node.instance_id in report.left] or [
            node for node in nodes if not node.gone
        ]
        told, notes = end_over_ssh(left, self._way_to)
        notes += [f"{node.instance_id} was told over SSH to end itself" for node in told]
        ids = tuple(node.instance_id for node in left)
        return msgspec.structs.replace(report, left=ids, notes=(*report.notes, *notes))

    def _left_text(self, report: TeardownReport) -> str:
        left = ", ".join(report.left) or "nodes that AWS could not list"
        notes = "".join(f"\n{note}" for note in report.notes)
        return (
            f"the run's nodes are not known to be gone: {left}{notes}\n"
            f"Each ends itself at most {self._aws.lease_minutes:g} min after its last contact with "
            "this machine. To list them: skygrid nodes; to end them: skygrid down "
            f"{self._fleet.mark.name}"
        )

    # -- RentingProvider

    def bill(self) -> Bill:
        """Return the cost so far, and the instances that are left."""
        report = self.report
        return Bill(
            dollars=self._fleet.dollars(time.time()),
            instances=len(self._fleet.nodes()),
            left=report.left if report else (),
            verified=report is not None and report.verified,
            price_source=self._fleet.plan.pools[0].price_source,
        )

    def dollars_per_hour(self) -> float | None:
        """Return the USD an hour of the instances that are not known to be gone."""
        return self._fleet.dollars_per_hour()

    def rented(self) -> Sequence[RentedNode]:
        """Return every instance of the run, as last seen."""
        now = time.time()
        return [as_rented(one, now) for one in self._fleet.nodes()]

    # -- nodes

    def _url_of(self, blob: Blob) -> str | None:
        return None if self._storage is None else self._storage.url_of(blob)

    def _make_node(self, name: str) -> Ec2Node:
        return Ec2Node(
            name,
            self._fleet,
            self._keys,
            self._orders,
            self._way,
            self._aws.launch_timeout,
        )

    def _orders(self, authorized: str, private: str, public: str) -> BootOrders:
        return BootOrders(
            authorized_key=f"{authorized} skygrid",
            host_key=private,
            host_key_public=public,
            lease_seconds=self._aws.lease_minutes * 60,
            lifetime_seconds=max(0.0, self._expires_at - time.time()),
            expires_at=self._expires_at,
        )

    def _way_to(self, node: CloudNode) -> Target:
        return self._way(self._fleet.address(node), node.instance_id)

    def _way(self, address: str, instance_id: str) -> Target:
        jumps = () if self._jump is None else (*self._jump.jumps, self._jump)
        return Target(
            spelled=instance_id,
            alias=address,
            host=address,
            port=22,
            user=self._aws.user,
            key_files=(self._keys.user_key,),
            use_agent=False,
            known_hosts=(self._keys.known_hosts,),
            host_key_alias=instance_id,
            jumps=jumps,
        )

    def _place(self, name: str) -> AgentPlace:
        slots = self._config.concurrency
        arguments = ("--slots", str(slots)) if slots else ()
        return AgentPlace(
            root=self._aws.folder,
            name=f"{self._run_id}-{name}",
            arguments=(*arguments, "--interruptions"),
            cache_max_gb=self._aws.cache_max_gb,
            hash_seed=self._config.hash_seed,
            orphan_after=self._aws.orphan_after,
            lease=LEASE_FILE,
        )

    def _is_fruitless(self, name: str) -> bool:
        """Return True if the last `FRUITLESS_LAUNCHES` nodes at this place were never reached."""
        place, generation = read_name(name)
        tried = [self._nodes.get(node_name(place, n)) for n in range(1, generation + 1)]
        recent = [node for node in tried if node is not None][-FRUITLESS_LAUNCHES:]
        return len(recent) == FRUITLESS_LAUNCHES and not any(node.reached for node in recent)

    # -- unused instances

    def _schedule_end(self, node: Ec2Node) -> None:
        """Schedule the end of a node's instance after its channel closed, unless a new agent
        comes."""
        node.close()
        with self._lock:
            if (
                self._closing
                or node.name in self._retired
                or self._nodes.get(node.name) is not node
            ):
                return
            timer = threading.Timer(limits.EC2_UNUSED, self._end, (node,))
            timer.daemon = True
            self._retired[node.name] = timer
            timer.start()

    def _end(self, node: Ec2Node) -> None:
        with self._lock:
            if self._closing or node.name not in self._retired or node.instance is None:
                return
            node.ended = True
        try:
            self._fleet.end(node.instance)
        except NodeError as error:
            # The teardown tries again, and the watchdog works without the driver.
            self._progress(f"{node.name} could not be ended yet: {error}")
