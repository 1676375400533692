"""The instances of one run; all code that spends money or ends instances goes through `Fleet`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from skygrid.config import AwsConfig, limits
from skygrid.errors import NodeError, UsageError
from skygrid.nodes.ec2.launch.launcher import Launcher
from skygrid.nodes.ec2.launch.watch import InstanceGoneError, Watch, gone_text
from skygrid.nodes.ec2.planning.network import allowed_cidr, let_in, open_group
from skygrid.nodes.ec2.teardown.teardown import Ending, Progress, RunResources, visible_by
from skygrid.nodes.records import TeardownReport

from .api import Clients, api_errors
from .api_errors import Decision, judge
from .cloud_record import CloudRecord, FleetStore, Launch
from .records import CloudNode, CloudPlan, RunMark, billed
from .retry import retried

__all__ = ["Fleet", "InstanceGoneError", "open_fleet"]

LOGGER = logging.getLogger(__name__)

RETRIED = frozenset({Decision.BACK_OFF, Decision.NOT_YET_VISIBLE})


class Fleet:
    """Launches, watches and ends the instances of one run. Thread-safe.

    Parameters
    ----------
    clients : Clients
        From `skygrid.nodes.ec2.api.open_clients`.
    plan : CloudPlan
    mark : RunMark
    store : FleetStore
        ``cloud.json`` of the run's folder.
    settings : AwsConfig
    """

    def __init__(
        self,
        clients: Clients,
        plan: CloudPlan,
        mark: RunMark,
        store: FleetStore,
        settings: AwsConfig,
    ) -> None:
        self.plan = plan
        self.mark = mark
        self.clients = clients
        self._store = store
        self._settings = settings
        self._watch = Watch(clients, mark.run_id)
        self._stopped = threading.Event()
        self._launcher = Launcher(clients, plan, mark, store, settings, self._stopped)
        self._opening = threading.Lock()
        self._group_id: str | None = None
        self._access = threading.Lock()
        self._cidr: str | None = None
        self._access_at = 0.0
        self._in_flight = 0
        self._launch_ended = threading.Condition()

    # ---- launching ------------------------------------------------------------------------------

    def open(self) -> str:
        """Create the run's security group; later calls return it.

        Returns
        -------
        group_id : str

        Raises
        ------
        NodeError
            If it cannot be created or the caller's address is unknown.
        """
        with self._opening:
            if self._group_id is None:
                cidr = allowed_cidr(self._settings)
                group_id = open_group(self.clients, self.mark, self._settings, self.plan.vpc, cidr)
                self._store.group(group_id)
                LOGGER.info("security group %s admits %s", group_id, cidr)
                self._cidr, self._group_id = cidr, group_id
            return self._group_id

    def launch(self, node: str, user_data: bytes, say: Callable[[str], None]) -> CloudNode:
        """Launch the instance of a node in the first pool with capacity.

        Parameters
        ----------
        node : str
            Name of the node. Each launch under the same name is a new generation.
        user_data : bytes
            At most 16 KiB, the limit of EC2.
        say : callable
            Receives progress messages.

        Raises
        ------
        NodeError
            If every pool failed (the message lists them), or the run is being torn down.
        """
        with self._launch_in_progress(node):
            found = self._launcher.launch(node, self.open(), user_data, say)
            self._watch.add(found)
        LOGGER.info("%s: launched %s in %s", node, found.instance_id, found.zone)
        if self._stopped.is_set():
            raise NodeError(f"{node}: the run is being ended, and {found.instance_id} with it")
        return found

    @contextmanager
    def _launch_in_progress(self, node: str) -> Iterator[None]:
        """Register a launch, so that the teardown waits for it."""
        with self._launch_ended:
            if self._stopped.is_set():
                raise NodeError(f"{node}: the run is being ended, so nothing more is launched")
            self._in_flight += 1
        try:
            yield
        finally:
            with self._launch_ended:
                self._in_flight -= 1
                self._launch_ended.notify_all()

    def adopt(self, node: str) -> CloudNode | None:
        """Return the running instance that an earlier session launched for this node, or None.

        Raises
        ------
        NodeError
            If the API does not answer.
        """
        if not self._store.record.launches:
            return None
        self.open()
        own = [one for one in self.living() if one.node == node]
        self._store.found(own)
        for found in reversed(own):
            if found.expires_at - time.time() > limits.EC2_ADOPT:
                LOGGER.info("%s: %s of an earlier session still runs", node, found.instance_id)
                return found
        return None

    def living(self) -> list[CloudNode]:
        """Return the instances of this run that are not gone, from all sessions, as listed now.

        Raises
        ------
        NodeError
            If the API does not answer.
        """
        try:
            self._watch.look(limits.EC2_LOOK_FRESH)
        except api_errors() as error:
            raise NodeError(
                judge(error, "ec2:DescribeInstances", self.clients.region).text
            ) from error
        return [one for one in self._watch.nodes() if not one.gone]

    # ---- watching -------------------------------------------------------------------------------

    def wait_running(self, node: CloudNode, say: Callable[[str], None]) -> CloudNode:
        """Wait until an instance runs and has the address for SSH.

        All waiting threads share the API calls.

        Raises
        ------
        InstanceGoneError
            If the instance ended; the message has the reason.
        NodeError
            If it took longer than ``launch_timeout`` or the API stopped answering.
        """
        return self._watch.wait(
            node,
            lambda seen: seen.state == "running" and self._address(seen) is not None,
            self._settings.launch_timeout,
            say,
        )

    def address(self, node: CloudNode) -> str:
        """Return the address for SSH: the public one, or the private one without ``public_ip``.

        Raises
        ------
        NodeError
            If the instance has none yet.
        """
        found = self._address(self._watch.get(node.instance_id) or node)
        if found is None:
            raise NodeError(f"{node.node}: the instance {node.instance_id} has no address yet")
        return found

    def _address(self, node: CloudNode) -> str | None:
        return node.public_ip if self._settings.public_ip else node.private_ip

    def gone(self, node: CloudNode) -> str | None:
        """Return the reason why the instance is gone, None while it is not.

        Call it after a failed connection. The text follows the instance's id: ``is terminated
        (...)``. The API is called at most every two seconds. Errors of the API count as "not gone"
        and are not raised.
        """
        try:
            self._watch.look(limits.EC2_LOOK_FRESH)
        except api_errors() as error:
            LOGGER.debug("%s: unknown whether %s is gone: %s", node.node, node.instance_id, error)
        seen = self._watch.get(node.instance_id)
        return gone_text(seen) if seen is not None and seen.gone else None

    def nodes(self) -> list[CloudNode]:
        """Return every instance of this run that this session knows, as last seen."""
        return self._watch.nodes()

    # ---- access ----------------------------------------------------------------------------------

    def repair_access(self) -> str | None:
        """Admit the caller again if its address has changed.

        Call it after a failed connection. The address is looked up at most every ten seconds.
        Errors are returned as text, never raised.

        Returns
        -------
        text : str or None
            The change that was made, or the error; None if nothing changed.
        """
        if self._settings.allow_cidr is not None or self._group_id is None:
            return None
        with self._access:
            now = time.monotonic()
            if self._access_at and now - self._access_at < limits.EC2_ACCESS:
                return None
            self._access_at = now
            try:
                return self._admit_again(self._group_id)
            except NodeError as error:
                return str(error)
            except api_errors() as error:
                action = "ec2:AuthorizeSecurityGroupIngress"
                return judge(error, action, self.clients.region).text

    def _admit_again(self, group_id: str) -> str | None:
        cidr, before = allowed_cidr(self._settings), self._cidr
        if cidr == before:
            return None
        let_in(self.clients, group_id, cidr)
        self._cidr = cidr
        return f"this machine's address changed from {before} to {cidr}, which is let in now"

    # ---- what it costs --------------------------------------------------------------------------

    def dollars(self, now: float) -> float | None:
        """Return the USD spent until `now` in all sessions; None if a price is unknown.

        Parameters
        ----------
        now : float
            Seconds since the epoch.
        """
        self._note_ends(now)
        return spent(self._store.record, now)

    def dollars_per_hour(self) -> float | None:
        """Return the USD per hour of all instances that may still run; None if a price is
        unknown."""
        prices = [
            one.pool.dollars_per_hour
            for one in self._store.record.launches
            if one.instance_id is not None and not one.ended_at
        ]
        return total(prices)

    def _note_ends(self, now: float) -> None:
        if not self._in_flight:  # else an instance may belong to the launch in progress
            self._store.found(self._watch.nodes())
        self._store.ended(self._watch.ends())
        if not self._stopped.is_set():
            self._store.alive(now)

    # ---- ending ---------------------------------------------------------------------------------

    def end(self, node: CloudNode) -> None:
        """Terminate one instance without waiting; the teardown verifies it.

        Raises
        ------
        NodeError
            If the API refuses.
        """
        LOGGER.info("%s: ending %s", node.node, node.instance_id)
        action, region = "ec2:TerminateInstances", self.clients.region
        try:
            retried(
                lambda: self.clients.ec2.terminate_instances(InstanceIds=[node.instance_id]),
                action,
                region,
                again=RETRIED,
                seconds=limits.EC2_LOOK_FRESH * 5,
                pause=self._stopped.wait,
            )
        except api_errors() as error:
            failure = judge(error, action, region)
            if failure.decision is not Decision.NOT_YET_VISIBLE:
                raise NodeError(f"{node.node}: {failure.text}") from error

    def teardown(self, progress: Progress) -> TeardownReport:
        """End everything and wait until the API confirms it. May be called again.

        Waits for launches in progress, refuses new ones, terminates instances, deletes the security
        group and the run's objects in S3, and lists by tag what is left. Failures stand in the
        report.

        Parameters
        ----------
        progress : callable
            Receives progress messages.
        """
        with self._launch_ended:
            self._stopped.set()
            self._watch.stop()
            while self._in_flight:
                progress("waiting for launches that are under way")
                # A launch in progress notices `_stopped` within one API call.
                self._launch_ended.wait()
        record = self._store.record
        ending = Ending(self.clients, resources_of(record, self.mark.name), progress)
        report = ending.complete()
        LOGGER.info("teardown: %d instances, verified: %s", report.ended, report.verified)
        self._watch.take_in(ending.seen)
        self._store.found(ending.seen)
        self._store.ended(self._watch.ends())
        if report.verified:
            self._store.torn_down()
        return report


def open_fleet(
    clients: Clients, plan: CloudPlan, mark: RunMark, folder: Path, settings: AwsConfig
) -> Fleet:
    """Return the fleet of a run, with the records of its earlier sessions.

    Parameters
    ----------
    folder : Path
        The run's folder, which exists.

    Raises
    ------
    UsageError
        If the run was started in another region or account, or on another architecture.
    NodeError
        If the instances of an earlier session cannot be listed.
    """
    fresh = CloudRecord(
        run_id=mark.run_id, region=plan.region, account=plan.account, bucket=settings.bucket
    )
    pools = "; ".join(map(str, plan.pools))
    LOGGER.info("nodes in %s, account %s, from: %s", plan.region, plan.account, pools)
    store = FleetStore(folder, fresh)
    if not settings.mixed_architectures:
        check_same_architecture(store.record, plan)
    fleet = Fleet(clients, plan, mark, store, settings)
    if store.record.launches:
        living = {one.instance_id for one in fleet.living()}
        store.ended(earlier_ends(store.record, living, settings.lease_minutes * 60, time.time()))
    return fleet


def check_same_architecture(record: CloudRecord, plan: CloudPlan) -> None:
    """Refuse to continue a run on nodes of another architecture than before.

    Raises
    ------
    UsageError
        If an earlier session had such nodes.
    """
    before = {one.pool.architecture for one in record.launches if one.instance_id} - {""}
    other = sorted(before - {one.architecture for one in plan.types.values()})
    if other:
        raise UsageError(
            f"the run has had {' and '.join(other)} nodes, and {plan.first_type.name} is "
            f"{plan.first_type.architecture}: scores may differ in the last bits. Name "
            "instance_types of the former under [aws], or set mixed_architectures = true"
        )


def earlier_ends(
    record: CloudRecord, living: Collection[str], lease_seconds: float, now: float
) -> dict[str, float]:
    """Return the latest possible ends, by instance id, of instances that ended between sessions.

    A node without a driver ends itself one lease after the driver's last sign of life.

    Parameters
    ----------
    record : CloudRecord
    living : collection of str
        Ids of instances that are not gone.
    lease_seconds : float
    now : float
        Seconds since the epoch.
    """
    return {
        one.instance_id: min(now, max(record.alive_at, one.launched_at) + lease_seconds)
        for one in record.launches
        if one.instance_id and not one.ended_at and one.instance_id not in living
    }


def spent(record: CloudRecord, now: float) -> float | None:
    """Return the USD spent on the instances of a record until `now`; None if a price is unknown."""
    return total([launch_dollars(one, now) for one in record.launches if one.instance_id])


def launch_dollars(launch: Launch, now: float) -> float | None:
    """Return the USD of one instance until its end or `now`; None if its price is unknown."""
    seconds = (launch.ended_at or now) - launch.launched_at
    return billed(launch.pool.dollars_per_hour, seconds)


def total(parts: list[float | None]) -> float | None:
    """Return the sum; None if a part is unknown."""
    known = [one for one in parts if one is not None]
    return sum(known) if len(known) == len(parts) else None


def resources_of(record: CloudRecord, name: str = "") -> RunResources:
    """Return the facts about a run that its file records."""
    waiting = [one for one in record.launches if one.open]
    return RunResources(
        run_id=record.run_id,
        name=name,
        launched={one.instance_id: one.last_call_at for one in record.launches if one.instance_id},
        tokens=tuple(one.token for one in waiting),
        tokens_until=max((visible_by(one.last_call_at) for one in waiting), default=0.0),
        bucket=record.bucket,
    )
