"""What the credentials may do: actions that a run needs and its plan does not, tried without doing.

EC2 answers a call with ``DryRun`` by whether it would be allowed. S3 has no such thing; a look at
an object or an upload that is not there is refused for want of rights, or else for want of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from typing import Any

import msgspec

from skygrid.config import AwsConfig
from skygrid.nodes.ec2.api import Clients, api_errors
from skygrid.nodes.ec2.api_errors import Decision, code_of, judge, missing_action
from skygrid.nodes.ec2.launch.requests import RUN, run_request, run_tags, specifications
from skygrid.nodes.ec2.planning.network import ssh_from
from skygrid.nodes.ec2.records import CloudPlan, RunMark
from skygrid.nodes.ec2.teardown.teardown import key_prefix

AT_ONCE = 8
"""Calls on their way at a time."""

PROOF = ("DescribeInstances", "DescribeSecurityGroups", "DescribeVolumes")
"""Actions of EC2 that prove the end of a run; the plan calls none of them."""

NO_INSTANCE = "i-00000000000000000"
NO_GROUP = "sg-00000000000000000"
NO_UPLOAD = "none"


class Verdict(Enum):
    """What came of trying an action."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNTRIED = "untried"
    """There was nothing of skygrid's to try it on."""

    FAILED = "failed"


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """An action, tried."""

    action: str
    """As IAM names it: ``ec2:RunInstances``."""

    verdict: Verdict
    text: str = ""
    """For the person, unless it is allowed."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An action, and the call that shows whether it is allowed."""

    action: str
    call: Callable[[], Any]
    own: bool = True
    """Whether it is tried on what skygrid made. A policy may allow it on nothing else, so that
    being refused on other things says nothing."""


def try_rights(clients: Clients, settings: AwsConfig, plan: CloudPlan | None) -> list[Right]:
    """Try all that a run does, side by side. Nothing is made, changed or ended.

    Parameters
    ----------
    clients : Clients
    settings : AwsConfig
    plan : CloudPlan or None
        What would be launched; None: launching and making a group cannot be tried.

    Returns
    -------
    rights : list of Right
        Sorted by action.
    """
    attempts = [Attempt(action=f"ec2:{one}", call=_dry(clients, one)) for one in PROOF]
    if settings.bucket is not None:
        attempts += _storage(clients, settings.bucket)
    if plan is not None:
        attempts += _changes(clients, settings, plan)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda one: _tried(one, clients.region), attempts))
    return sorted(found, key=lambda one: one.action)


def _tried(attempt: Attempt, region: str) -> Right:
    try:
        attempt.call()
    except api_errors() as error:
        return judged(attempt, error, region)
    return Right(action=attempt.action, verdict=Verdict.ALLOWED)


def judged(attempt: Attempt, error: Exception, region: str) -> Right:
    """What a failed call says about the right to make it."""
    failure = judge(error, attempt.action, region)
    action = attempt.action
    if code_of(error) in ("DryRunOperation", "NoSuchUpload", "NoSuchKey", "404"):
        verdict = Verdict.ALLOWED
    elif failure.decision is Decision.NOT_YET_VISIBLE:
        verdict = Verdict.UNTRIED
    elif failure.decision is not Decision.NOT_ALLOWED:
        verdict = Verdict.FAILED
    elif attempt.own:
        # Making something with tags takes the right to tag as well.
        verdict, action = Verdict.DENIED, missing_action(str(error), attempt.action)
    else:
        verdict = Verdict.UNTRIED
    text = "" if verdict is Verdict.ALLOWED else failure.text
    return Right(action=action, verdict=verdict, text=text)


# ---- the attempts -------------------------------------------------------------------------------


def _storage(clients: Clients, bucket: str) -> Iterator[Attempt]:
    s3, key = clients.s3, key_prefix("doctor") + "none"
    yield Attempt(
        action="s3:ListBucket",
        call=partial(s3.list_objects_v2, Bucket=bucket, Prefix=key, MaxKeys=1),
    )
    yield Attempt(
        action="s3:ListBucketMultipartUploads",
        call=partial(s3.list_multipart_uploads, Bucket=bucket, Prefix=key, MaxUploads=1),
    )
    yield Attempt(action="s3:GetObject", call=partial(s3.get_object, Bucket=bucket, Key=key))
    upload = {"Bucket": bucket, "Key": key, "UploadId": NO_UPLOAD}
    yield Attempt(
        action="s3:PutObject", call=partial(s3.upload_part, **upload, PartNumber=1, Body=b"")
    )
    yield Attempt(
        action="s3:AbortMultipartUpload", call=partial(s3.abort_multipart_upload, **upload)
    )


def _changes(clients: Clients, settings: AwsConfig, plan: CloudPlan) -> Iterator[Attempt]:
    group, own_group = _some_group(clients, plan.vpc)
    mark = RunMark(
        run_id="doctor",
        name="doctor",
        owner=str(clients.caller.get("Arn", "")),
        expires_at=time.time(),
    )
    image = plan.images[plan.first_type.architecture]
    launch = run_request(
        node="doctor",
        pool=plan.pools[0],
        image=image,
        token=f"skygrid-doctor-{time.time_ns()}",
        group_id=group,
        user_data=b"#cloud-config\n{}\n",
        mark=mark,
        settings=settings,
    )
    yield Attempt(action="ec2:RunInstances", call=_dry(clients, "RunInstances", **launch))
    made = {
        "GroupName": "skygrid-doctor",
        "Description": "skygrid doctor",
        "VpcId": plan.vpc,
        "TagSpecifications": specifications(("security-group",), run_tags(mark, settings)),
    }
    action = "CreateSecurityGroup"
    yield Attempt(action=f"ec2:{action}", call=_dry(clients, action, **made))
    door = {"GroupId": group, "IpPermissions": [ssh_from("192.0.2.1/32")]}
    for action in ("AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"):
        call = _dry(clients, action, **door)
        yield Attempt(action=f"ec2:{action}", call=call, own=own_group)
    action = "DeleteSecurityGroup"
    call = _dry(clients, action, GroupId=group)
    yield Attempt(action=f"ec2:{action}", call=call, own=own_group)
    instance, own_instance = _some_instance(clients)
    action = "TerminateInstances"
    call = _dry(clients, action, InstanceIds=[instance])
    yield Attempt(action=f"ec2:{action}", call=call, own=own_instance)


def _some_group(clients: Clients, vpc: str) -> tuple[str, bool]:
    """A group to try things on, and whether skygrid made it; else the VPC's default one."""
    try:
        found = clients.described("security_groups", {"vpc-id": [vpc]})
    except api_errors():  # not allowed: that is told where looking is tried by itself
        found = []
    for one in found:
        if any(tag["Key"] == RUN for tag in one.get("Tags", ())):
            return str(one["GroupId"]), True
    default = next((one for one in found if one["GroupName"] == "default"), None)
    return str(default["GroupId"]) if default else NO_GROUP, False


def _some_instance(clients: Clients) -> tuple[str, bool]:
    """A node of skygrid's to try its end on; else the id of none."""
    wanted = {"tag-key": [RUN], "instance-state-name": ["pending", "running"]}
    try:
        found = clients.described("instances", wanted)
    except api_errors():  # as above
        found = []
    return (str(found[0]["InstanceId"]), True) if found else (NO_INSTANCE, False)


def _dry(clients: Clients, action: str, **arguments: Any) -> Callable[[], Any]:
    words = "".join(f"_{one.lower()}" if one.isupper() else one for one in action).lstrip("_")
    return partial(getattr(clients.ec2, words), DryRun=True, **arguments)
