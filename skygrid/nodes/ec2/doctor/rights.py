"""Rights of the credentials: dry runs of actions that a run needs and planning does not call.

EC2 answers a ``DryRun`` call with the verdict. S3 has none; a request for a missing object or
upload fails either for lack of rights or because the object is missing.
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
"""Maximum number of parallel calls."""

PROOF = ("DescribeInstances", "DescribeSecurityGroups", "DescribeVolumes")
"""EC2 actions that verify the end of a run; planning calls none of them."""

NO_INSTANCE = "i-00000000000000000"
NO_GROUP = "sg-00000000000000000"
NO_UPLOAD = "none"


class Verdict(Enum):
    """Result of trying an action."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNTRIED = "untried"
    """No resource of skygrid exists to try it on."""

    FAILED = "failed"


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """An action with its verdict."""

    action: str
    """Name in IAM: ``ec2:RunInstances``."""

    verdict: Verdict
    text: str = ""
    """Message for the user, unless it is allowed."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An action with the call that tries it."""

    action: str
    call: Callable[[], Any]
    own: bool = True
    """True if it is tried on a resource of skygrid. A policy may be restricted to these, so a
    refusal on other resources proves nothing."""


def try_rights(clients: Clients, settings: AwsConfig, plan: CloudPlan | None) -> list[Right]:
    """Try all actions of a run in parallel. Nothing is created, changed or ended.

    Parameters
    ----------
    clients : Clients
    settings : AwsConfig
    plan : CloudPlan or None
        Planned launch; without it launches and groups are not tried.

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
    """Return the verdict on an action whose call failed."""
    failure = judge(error, attempt.action, region)
    action = attempt.action
    if code_of(error) in ("DryRunOperation", "NoSuchUpload", "NoSuchKey", "404"):
        verdict = Verdict.ALLOWED
    elif failure.decision is Decision.NOT_YET_VISIBLE:
        verdict = Verdict.UNTRIED
    elif failure.decision is not Decision.NOT_ALLOWED:
        verdict = Verdict.FAILED
    elif attempt.own:
        # A tagged creation also requires the right to tag.
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
    """Return a group to try actions on, skygrid's or the VPC's default; True if skygrid's."""
    try:
        found = clients.described("security_groups", {"vpc-id": [vpc]})
    except api_errors():  # ec2:DescribeSecurityGroups is reported by its own attempt
        found = []
    for one in found:
        if any(tag["Key"] == RUN for tag in one.get("Tags", ())):
            return str(one["GroupId"]), True
    default = next((one for one in found if one["GroupName"] == "default"), None)
    return str(default["GroupId"]) if default else NO_GROUP, False


def _some_instance(clients: Clients) -> tuple[str, bool]:
    """Return an instance of skygrid to try termination on, else an invalid id; True if
    skygrid's."""
    wanted = {"tag-key": [RUN], "instance-state-name": ["pending", "running"]}
    try:
        found = clients.described("instances", wanted)
    except api_errors():  # as above
        found = []
    return (str(found[0]["InstanceId"]), True) if found else (NO_INSTANCE, False)


def _dry(clients: Clients, action: str, **arguments: Any) -> Callable[[], Any]:
    words = "".join(f"_{one.lower()}" if one.isupper() else one for one in action).lstrip("_")
    return partial(getattr(clients.ec2, words), DryRun=True, **arguments)
