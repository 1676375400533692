"""Teardown of a run, with verification.

The order follows cost and dependence: instances, then their security group, then objects in S3;
finally the API is searched by tag for leftovers. Calls are repeated while that can help. Failures
are reported, never raised.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from skygrid.config import limits
from skygrid.nodes.ec2.api import Clients, api_errors
from skygrid.nodes.ec2.api_errors import Decision, Failure, judge
from skygrid.nodes.ec2.launch.requests import RUN
from skygrid.nodes.ec2.launch.watch import find_instances
from skygrid.nodes.ec2.records import CloudNode
from skygrid.nodes.ec2.retry import Pause, delays
from skygrid.nodes.records import TeardownReport

REFUSED_TRIES = 6
"""Number of calls that may be denied before giving up; a role's credentials may be renewed
meanwhile."""


AGAIN = frozenset({Decision.BACK_OFF, Decision.IN_USE})

Progress = Callable[[str], None]


class RunResources(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a run that its tags may not show."""

    run_id: str
    name: str = ""
    launched: dict[str, float] = {}
    """Times of the launching calls by instance id, in seconds since the epoch by this machine's
    clock; new instances may not be visible yet."""

    tokens: tuple[str, ...] = ()
    """Client tokens of launches with unknown result."""

    tokens_until: float = 0.0
    """Seconds since the epoch until which those launches may become visible."""

    bucket: str | None = None


def visible_by(called_at: float) -> float:
    """Return the time at which the API shows the instance of a call without an answer.

    Parameters
    ----------
    called_at : float
        Start of the call, which may have been executed at any time until it was given up.
    """
    return called_at + limits.EC2_ANSWER + limits.EC2_VISIBLE


class Ending:
    """The end of one run.

    Parameters
    ----------
    clients : Clients
    resources : RunResources
    progress : callable
        Receives progress messages.
    pause : callable
    """

    def __init__(
        self,
        clients: Clients,
        resources: RunResources,
        progress: Progress,
        pause: Pause = time.sleep,
    ) -> None:
        self._clients = clients
        self._resources = resources
        self._progress = progress
        self._pause = pause
        self._notes: list[str] = []
        self._seen: dict[str, CloudNode] = {}
        self._asked: dict[str, float] = {}
        self._never_seen: set[str] = set()
        self._refused = 0

    @property
    def seen(self) -> list[CloudNode]:
        """Every instance of the run that was seen, in its last state."""
        return list(self._seen.values())

    def complete(self) -> TeardownReport:
        """End instances, group and objects, then verify.

        An instance that becomes visible later, while its group is deleted or searched for, is
        ended too.
        """
        until = time.monotonic() + limits.EC2_END
        verified, more = self._end_round(until)
        while more and time.monotonic() < until:
            self._notes.clear()  # they describe what this round ends
            verified, more = self._end_round(until)
        verified = self._delete_objects() and verified
        return TeardownReport(
            left=tuple(one.instance_id for one in self._alive()),
            verified=verified,
            ended=len(self._seen),
            notes=tuple(self._notes),
        )

    def _end_round(self, until: float) -> tuple[bool, bool]:
        """End what is visible; return True if nothing is left, and True if there is more to end."""
        failure = self._end_instances(until)
        if failure is not None:
            self._notes.append(self._left_text(failure))
            return False, False
        self._delete_groups()
        verified = not self._alive() and self._verify()
        return verified, bool(self._alive())

    # ---- instances ------------------------------------------------------------------------------

    def _end_instances(self, deadline: float) -> str | None:
        """Return the reason why instances may be left; None when all are terminated."""
        told = 0
        for delay in delays(longest=limits.EC2_RETRY_LONGEST / 2, factor=1.3):
            failure = self._look()
            left = len(self._alive())
            if failure is None and not left and not self._unseen():
                return None
            failure = self._ask_for_end() or failure
            if failure is not None and not self._is_worth_retrying(failure):
                return failure.text
            if left and left != told:
                told = left
                self._progress(f"ending {count(left)}")
            if time.monotonic() + delay > deadline:
                return f"they did not end in {limits.EC2_END:g} s"
            self._pause(delay)
        raise AssertionError("delays never end")

    def _look(self) -> Failure | None:
        wanted = {f"tag:{RUN}": [self._resources.run_id]}
        try:
            found = find_instances(self._clients, wanted)
            missing = set(self._resources.launched) - {one.instance_id for one in found}
            if missing:
                found += find_instances(self._clients, {"instance-id": sorted(missing)})
        except api_errors() as error:
            return judge(error, "ec2:DescribeInstances", self._clients.region)
        self._seen.update({one.instance_id: one for one in found})
        return None

    def _alive(self) -> list[CloudNode]:
        return [one for one in self._seen.values() if one.state != "terminated"]

    def _missing(self) -> set[str]:
        """Return launched instances that were not seen yet."""
        return set(self._resources.launched) - set(self._seen) - self._never_seen

    def _unseen(self) -> bool:
        """Return True if further instances may become visible."""
        late = bool(self._resources.tokens) and time.time() < self._resources.tokens_until
        return late or bool(self._missing())

    def _ask_for_end(self) -> Failure | None:
        """Terminate instances that were not asked to end, or not recently."""
        now = time.monotonic()
        running = {one.instance_id for one in self._alive() if one.state != "shutting-down"}
        wanted = sorted(
            one
            for one in running | self._missing()
            if now - self._asked.get(one, -math.inf) > limits.EC2_END_AGAIN
        )
        if not wanted:
            return None
        failure = self._terminate(wanted)
        if failure is not None and failure.decision is Decision.NOT_YET_VISIBLE:
            # One unknown id fails the whole call.
            return next(filter(None, map(self._terminate_one, wanted)), None)
        return failure

    def _terminate_one(self, instance_id: str) -> Failure | None:
        failure = self._terminate([instance_id])
        if failure is None or failure.decision is not Decision.NOT_YET_VISIBLE:
            return failure
        if time.time() > visible_by(self._resources.launched.get(instance_id, 0.0)):
            self._never_seen.add(instance_id)  # the API has forgotten it
        return None

    def _terminate(self, ids: Sequence[str]) -> Failure | None:
        try:
            self._clients.ec2.terminate_instances(InstanceIds=list(ids))
        except api_errors() as error:
            return judge(error, "ec2:TerminateInstances", self._clients.region)
        self._asked.update(dict.fromkeys(ids, time.monotonic()))
        return None

    def _is_worth_retrying(self, failure: Failure) -> bool:
        if failure.decision in AGAIN:
            return True
        self._refused += 1
        return self._refused < REFUSED_TRIES

    def _left_text(self, why: str) -> str:
        ids = sorted({one.instance_id for one in self._alive()} | self._missing())
        what = f"{', '.join(ids)} in {self._clients.region}" if ids else "instances of the run"
        name = self._resources.name or "RUN"
        return (
            f"{what} may still run and cost: {why}. End them with `skygrid down {name}`, or in the "
            "console of EC2. Nodes without a driver end themselves."
        )

    # ---- the rest -------------------------------------------------------------------------------

    def _delete_groups(self) -> None:
        try:
            groups = self._tagged("security_groups")
        except api_errors() as error:
            failure = judge(error, "ec2:DescribeSecurityGroups", self._clients.region)
            self._notes.append(f"the security group may be left: {failure.text}")
            return
        if groups:
            self._progress("deleting the security group")
        for group in groups:
            self._delete_group(group["GroupId"])

    def _delete_group(self, group_id: str) -> None:
        """Delete a group; give up if an instance becomes visible, because that uses the group."""
        deadline = time.monotonic() + limits.EC2_GROUP_END
        for delay in delays():
            failure = self._try_to_delete(group_id)
            # A group that is not visible is gone.
            if failure is None or failure.decision is Decision.NOT_YET_VISIBLE:
                return
            if failure.decision not in AGAIN or time.monotonic() + delay > deadline:
                self._notes.append(
                    f"the security group {group_id} is left, which costs nothing: {failure.text}"
                )
                return
            self._pause(delay)
            if self._look() is None and self._alive():
                return

    def _try_to_delete(self, group_id: str) -> Failure | None:
        try:
            self._clients.ec2.delete_security_group(GroupId=group_id)
        except api_errors() as error:
            return judge(error, "ec2:DeleteSecurityGroup", self._clients.region)
        return None

    def _delete_objects(self) -> bool:
        """Return True if the run has no data left in its bucket."""
        if self._resources.bucket is None:
            return True
        try:
            delete_objects(self._clients, self._resources.bucket, self._resources.run_id)
        except api_errors() as error:
            failure = judge(error, "s3:DeleteObject", self._clients.region)
            place = f"s3://{self._resources.bucket}/{key_prefix(self._resources.run_id)}"
            self._notes.append(f"data may be left at {place}, and cost: {failure.text}")
            return False
        return True

    def _verify(self) -> bool:
        """Search by tag for instances, volumes and groups; return True if none is left."""
        try:
            failure = self._look()
            volumes = self._volumes_left()
            groups = [one["GroupId"] for one in self._tagged("security_groups")]
        except api_errors() as error:
            text = judge(error, "ec2:DescribeVolumes", self._clients.region).text
            self._notes.append(f"the search for leftovers failed: {text}")
            return False
        if failure is not None:
            self._notes.append(f"the search for leftovers failed: {failure.text}")
        if volumes:
            self._notes.append(f"volumes are left, and cost: {', '.join(volumes)}")
        return failure is None and not (self._alive() or volumes or groups)

    def _volumes_left(self) -> list[str]:
        """Return volumes of the run after a wait: they disappear shortly after their instance.

        The wait ends early if an instance becomes visible, because that has a volume.
        """
        until = time.monotonic() + limits.EC2_VISIBLE
        for delay in delays():
            left = [
                one["VolumeId"] for one in self._tagged("volumes") if one.get("State") != "deleting"
            ]
            if not left or self._alive() or time.monotonic() + delay > until:
                return left
            self._pause(delay)
            self._look()
        raise AssertionError("delays never end")

    def _tagged(self, kind: str) -> list[Any]:
        return self._clients.described(kind, {f"tag:{RUN}": [self._resources.run_id]})


def count(nodes: int) -> str:
    """Return ``1 node`` or ``3 nodes``."""
    return f"{nodes} node{'' if nodes == 1 else 's'}"


def key_prefix(run_id: str) -> str:
    """Return the prefix of a run's objects in its bucket."""
    return f"skygrid/{run_id}/"


def delete_objects(clients: Clients, bucket: str, run_id: str) -> None:
    """Delete a run's objects in a bucket, unfinished uploads included.

    Raises
    ------
    Exception
        An error of `api_errors`.
    """
    prefix = key_prefix(run_id)
    for page in clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        # Delete singly: DeleteObjects hides refusals in a successful answer, and objects are few.
        for one in page.get("Contents", ()):
            clients.s3.delete_object(Bucket=bucket, Key=one["Key"])
    uploads = clients.s3.get_paginator("list_multipart_uploads")
    for page in uploads.paginate(Bucket=bucket, Prefix=prefix):
        for one in page.get("Uploads", ()):
            clients.s3.abort_multipart_upload(
                Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"]
            )
