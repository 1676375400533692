"""The doctor's look at an AWS account, against a cloud that behaves like AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skygrid.config import AwsConfig, RunConfig
from skygrid.nodes.ec2.doctor.examine import examine_account
from skygrid.nodes.ec2.launch.requests import RUN
from skygrid.nodes.records import Finding
from tests.cloud.client import Cloud, wait
from tests.command import Command

pytestmark = pytest.mark.cloud

CHANGES = {
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateSecurityGroup",
    "ec2:DeleteSecurityGroup",
    "ec2:RevokeSecurityGroupIngress",
    "ec2:RunInstances",
    "ec2:TerminateInstances",
}


def _looks(nodes: int = 3, **settings: object) -> dict[str, Finding]:
    config = RunConfig(on="aws", nodes=nodes, aws=AwsConfig(**settings))  # type: ignore[arg-type]
    return {one.name: one for one in examine_account(config)}


def _problems(looks: dict[str, Finding]) -> list[str]:
    return [problem for one in looks.values() for problem in one.problems]


def test_an_account_that_will_do_has_no_trouble(tmp_path: Path, cloud: Cloud) -> None:
    """`skygrid doctor --on aws` ends well where a run would, and says what the nodes would be."""
    doctor = Command(tmp_path, "doctor", "--on", "aws", "--nodes", "3", env=cloud.environment())

    code, out, err = doctor.end()

    assert code == 0, out + err
    said = " ".join(out.split())
    assert "trouble" not in said
    assert "3 x c7i.xlarge (4 vCPUs, 8 GiB), on-demand, $0.1785 an hour each" in said
    assert "640 vCPUs, 0 in use, 12 for the run" in said
    assert "203.0.113.10/32 alone" in said


def test_looking_changes_nothing(aws: Cloud) -> None:
    """Whatever makes, changes or ends something is asked with DryRun alone."""
    assert not _problems(_looks())

    calls = [call for call in aws.call_log() if call["action"] in CHANGES]
    assert {call["action"] for call in calls} == CHANGES
    assert all(call["dry_run"] for call in calls)
    assert not aws.left()


def test_all_missing_rights_are_named_at_once(aws: Cloud) -> None:
    """Every action that is refused is in one message, the right to tag among them."""
    aws.faults.deny("ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeVolumes")

    (problem,) = _problems(_looks())

    assert "not allowed: ec2:CreateTags, ec2:DescribeVolumes, ec2:RunInstances." in problem


def test_what_a_run_goes_without_is_no_trouble(aws: Cloud) -> None:
    """Prices and quotas that may not be read are noted, and stop nothing."""
    aws.faults.deny("pricing:*", "servicequotas:*")

    looks = _looks()

    assert not _problems(looks)
    notes = " ".join(looks["AWS nodes"].notes)
    for action in ("pricing:GetProducts", "servicequotas:GetServiceQuota"):
        assert action in notes


@contextmanager
def _own_node(cloud: Cloud) -> Iterator[None]:
    """An instance that carries the mark of a run."""
    ec2 = cloud.client("ec2")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": RUN, "Value": "0" * 16}]}]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    made = ec2.run_instances(
        ImageId=image, InstanceType="c7i.xlarge", MinCount=1, MaxCount=1, TagSpecifications=tags
    )
    wait(lambda: cloud.nodes("running"), lambda: "the instance to run")
    try:
        yield
    finally:
        cloud.faults.set(denied=[])
        ec2.terminate_instances(InstanceIds=[made["Instances"][0]["InstanceId"]])


def test_a_right_over_own_nodes_is_judged_by_own_nodes_alone(aws: Cloud) -> None:
    """Refused on what is not skygrid's, ending is noted; refused on a node of a run, trouble."""
    aws.faults.deny("ec2:TerminateInstances")

    looks = _looks()
    assert not _problems(looks)
    assert "ec2:TerminateInstances" in " ".join(looks["AWS rights"].notes)

    with _own_node(aws):
        (problem,) = _problems(_looks())
    assert "not allowed: ec2:TerminateInstances." in problem


def test_a_quota_that_does_not_do_is_named_with_its_page(aws: Cloud) -> None:
    """What runs counts: the trouble says how many vCPUs are left and where to ask for more."""
    aws.faults.set(on_demand_vcpus=12)
    assert not _problems(_looks())

    with _own_node(aws):
        (problem,) = _problems(_looks())

    assert "leaves 8 vCPUs in us-east-1, and the run takes 12" in problem
    assert "/servicequotas/home/services/ec2/quotas/L-1216C47A" in problem


def test_spot_quota_is_no_trouble_where_on_demand_nodes_do(aws: Cloud) -> None:
    """Too small a quota for spot stops a run on spot, and is noted where on-demand follows."""
    aws.faults.set(spot_vcpus=4)

    assert "L-34B43A08" in _problems(_looks(market="spot"))[0]
    looks = _looks(market="spot-then-on-demand")

    assert not _problems(looks)
    assert "L-34B43A08" in " ".join(looks["AWS nodes"].notes)


def test_no_network_is_trouble_and_the_rest_is_looked_at(aws: Cloud) -> None:
    """Without a default VPC the way out is said, and rights are tried as far as they can be."""
    aws.faults.remove_default_vpc()
    aws.faults.deny("ec2:DescribeVolumes")

    looks = _looks()

    (problem,) = looks["AWS network"].problems
    assert "aws ec2 create-default-vpc --region us-east-1" in problem
    assert "ec2:DescribeVolumes" in looks["AWS rights"].problems[0]
    assert "was not tried" in " ".join(looks["AWS rights"].notes)


def test_expired_credentials_are_the_only_trouble(aws: Cloud) -> None:
    """Where nobody is let in, one message says what to renew."""
    aws.faults.expire_credentials()

    (problem,) = _problems(_looks())

    assert "renew them" in problem


def test_an_address_that_nobody_tells_is_trouble(aws: Cloud) -> None:
    """Without the caller's address the doctor says how to name who may connect."""
    (problem,) = _problems(_looks(address_url=f"{aws.url}/nowhere"))

    assert "set allow_cidr under [aws]" in problem


def test_rights_over_a_bucket_are_tried(aws: Cloud) -> None:
    """With a bucket, what is done with objects is tried too, and nothing is put there."""
    aws.allowed_left = {"objects"}
    aws.client("s3").create_bucket(Bucket="lots-of-data")
    assert not _problems(_looks(bucket="lots-of-data"))
    aws.faults.deny("s3:PutObject")

    (problem,) = _problems(_looks(bucket="lots-of-data"))

    assert "not allowed: s3:PutObject." in problem
    assert "objects" not in aws.left()


def test_a_bucket_that_is_not_there_is_trouble(aws: Cloud) -> None:
    """A bucket that does not exist is told from one that may not be used."""
    problems = _problems(_looks(bucket="no-such-bucket"))

    assert problems
    assert all("NoSuchBucket" in problem for problem in problems)


def test_a_wrong_clock_is_told_from_wrong_credentials(aws: Cloud) -> None:
    """A clock that is an hour off is what is wrong, not the credentials alone."""
    aws.faults.set(clock_seconds=3600)

    (problem,) = _problems(_looks())

    assert "set this machine's clock" in problem


def test_a_slow_clock_is_noted(aws: Cloud) -> None:
    """A clock that is some minutes off still works, and is noted."""
    aws.faults.set(clock_seconds=120)

    looks = _looks()

    assert not _problems(looks)
    assert "behind AWS" in " ".join(looks["AWS account"].notes)


def test_no_region_is_trouble(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no region is chosen, the doctor says where to choose one."""
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    (problem,) = _problems(_looks())

    assert "no AWS region is chosen" in problem
