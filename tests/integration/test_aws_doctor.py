"""The doctor's check of an AWS account, against a simulated cloud."""

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


def test_a_suitable_account_has_no_problem(tmp_path: Path, cloud: Cloud) -> None:
    """`skygrid doctor --on aws` succeeds where a run would, and describes the nodes."""
    doctor = Command(tmp_path, "doctor", "--on", "aws", "--nodes", "3", env=cloud.environment())

    code, out, err = doctor.end()

    assert code == 0, out + err
    said = " ".join(out.split())
    assert "trouble" not in said
    assert "3 x c7i.xlarge (4 vCPUs, 8 GiB), on-demand, $0.1785 an hour each" in said
    assert "640 vCPUs, 0 in use, 12 for the run" in said
    assert "203.0.113.10/32 alone" in said


def test_the_doctor_changes_nothing(aws: Cloud) -> None:
    """Each call that creates, changes or ends something is made with DryRun."""
    assert not _problems(_looks())

    calls = [call for call in aws.call_log() if call["action"] in CHANGES]
    assert {call["action"] for call in calls} == CHANGES
    assert all(call["dry_run"] for call in calls)
    assert not aws.left()


def test_all_missing_permissions_are_named_at_once(aws: Cloud) -> None:
    """Each refused action is in one message, with the permission to tag."""
    aws.faults.deny("ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeVolumes")

    (problem,) = _problems(_looks())

    assert "not allowed: ec2:CreateTags, ec2:DescribeVolumes, ec2:RunInstances." in problem


def test_missing_optional_permissions_are_noted(aws: Cloud) -> None:
    """Prices and quotas that may not be read are noted and are no problem."""
    aws.faults.deny("pricing:*", "servicequotas:*")

    looks = _looks()

    assert not _problems(looks)
    notes = " ".join(looks["AWS nodes"].notes)
    for action in ("pricing:GetProducts", "servicequotas:GetServiceQuota"):
        assert action in notes


@contextmanager
def _own_node(cloud: Cloud) -> Iterator[None]:
    """Run an instance with the mark of a run."""
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


def test_a_refusal_counts_on_own_nodes_only(aws: Cloud) -> None:
    """A refused end of a foreign instance is noted; that of a run's own node is a problem."""
    aws.faults.deny("ec2:TerminateInstances")

    looks = _looks()
    assert not _problems(looks)
    assert "ec2:TerminateInstances" in " ".join(looks["AWS rights"].notes)

    with _own_node(aws):
        (problem,) = _problems(_looks())
    assert "not allowed: ec2:TerminateInstances." in problem


def test_a_small_quota_is_named_with_its_page(aws: Cloud) -> None:
    """The problem has the number of vCPUs that running instances leave, and the quota's page."""
    aws.faults.set(on_demand_vcpus=12)
    assert not _problems(_looks())

    with _own_node(aws):
        (problem,) = _problems(_looks())

    assert "leaves 8 vCPUs in us-east-1, and the run takes 12" in problem
    assert "/servicequotas/home/services/ec2/quotas/L-1216C47A" in problem


def test_a_spot_quota_is_noted_if_on_demand_follows(aws: Cloud) -> None:
    """A small spot quota is a problem of a spot run, and a note where on-demand follows."""
    aws.faults.set(spot_vcpus=4)

    assert "L-34B43A08" in _problems(_looks(market="spot"))[0]
    looks = _looks(market="spot-then-on-demand")

    assert not _problems(looks)
    assert "L-34B43A08" in " ".join(looks["AWS nodes"].notes)


def test_a_missing_network_is_a_problem_beside_others(aws: Cloud) -> None:
    """Without a default VPC, the remedy is named and permissions are still tried."""
    aws.faults.remove_default_vpc()
    aws.faults.deny("ec2:DescribeVolumes")

    looks = _looks()

    (problem,) = looks["AWS network"].problems
    assert "aws ec2 create-default-vpc --region us-east-1" in problem
    assert "ec2:DescribeVolumes" in looks["AWS rights"].problems[0]
    assert "was not tried" in " ".join(looks["AWS rights"].notes)


def test_expired_credentials_are_the_only_problem(aws: Cloud) -> None:
    """With expired credentials, the only message says what to renew."""
    aws.faults.expire_credentials()

    (problem,) = _problems(_looks())

    assert "renew them" in problem


def test_an_unknown_address_is_a_problem(aws: Cloud) -> None:
    """Without the caller's address, the message names the setting for it."""
    (problem,) = _problems(_looks(address_url=f"{aws.url}/nowhere"))

    assert "set allow_cidr under [aws]" in problem


def test_permissions_on_a_bucket_are_tried(aws: Cloud) -> None:
    """With a bucket, actions on objects are tried, and no object is left."""
    aws.allowed_left = {"objects"}
    aws.client("s3").create_bucket(Bucket="lots-of-data")
    assert not _problems(_looks(bucket="lots-of-data"))
    aws.faults.deny("s3:PutObject")

    (problem,) = _problems(_looks(bucket="lots-of-data"))

    assert "not allowed: s3:PutObject." in problem
    assert "objects" not in aws.left()


KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def test_a_key_of_the_account_for_volumes_is_named(aws: Cloud) -> None:
    """A customer-managed key for volumes is named, with the permissions that nodes need for it."""
    assert "AWS volume key" not in _looks()
    aws.faults.set(volume_key=KEY)
    looks = _looks()
    assert not _problems(looks)
    assert KEY in looks["AWS volume key"].facts[0]
    assert "kms:CreateGrant" in looks["AWS volume key"].notes[0]

    aws.faults.set(volume_key_state="Disabled")
    (problem,) = _problems(_looks())
    assert f"{KEY}, which is Disabled, so no node can start" in problem


def test_a_key_for_volumes_that_may_not_be_used_is_a_problem(aws: Cloud) -> None:
    """Without permissions for the account's key, the policy statement is named."""
    aws.faults.set(volume_key=KEY)
    aws.faults.deny("kms:*")

    (problem,) = _problems(_looks())

    assert KEY in problem
    assert "do not allow kms:DescribeKey" in problem
    assert 'the statement "VolumesOnlyWithAKeyOfYourOwn" of guides/aws.md' in problem


def test_a_missing_bucket_is_a_problem(aws: Cloud) -> None:
    """A bucket that does not exist is distinguished from one without access."""
    problems = _problems(_looks(bucket="no-such-bucket"))

    assert problems
    assert all("NoSuchBucket" in problem for problem in problems)


def test_a_wrong_clock_is_distinguished_from_wrong_credentials(aws: Cloud) -> None:
    """A clock that is an hour off is reported as the cause."""
    aws.faults.set(clock_seconds=3600)

    (problem,) = _problems(_looks())

    assert "set this machine's clock" in problem


def test_a_slow_clock_is_noted(aws: Cloud) -> None:
    """A clock that is two minutes off is noted."""
    aws.faults.set(clock_seconds=120)

    looks = _looks()

    assert not _problems(looks)
    assert "behind AWS" in " ".join(looks["AWS account"].notes)


def test_a_missing_region_is_a_problem(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region, the message says where to choose one."""
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    (problem,) = _problems(_looks())

    assert "no AWS region is chosen" in problem
