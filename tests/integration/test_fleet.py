"""A fleet against a simulated cloud: launch, watch, end, and their faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from skygrid.config import AwsConfig, RunConfig, limits
from skygrid.errors import NodeError
from skygrid.nodes.ec2.api import Clients, open_clients
from skygrid.nodes.ec2.cloud_record import read_cloud_record
from skygrid.nodes.ec2.fleet import Fleet, InstanceGoneError, open_fleet, resources_of
from skygrid.nodes.ec2.planning.plan import mark_of, plan_cloud
from skygrid.nodes.ec2.records import CloudNode
from skygrid.nodes.ec2.teardown.listing import down, find_cloud_nodes, find_resources
from skygrid.nodes.ec2.teardown.teardown import RunResources
from tests.cloud.client import Cloud, wait
from tests.cloud.faults import Pool

pytestmark = pytest.mark.cloud

USER_DATA = b"#cloud-config\n{}\n"
SILENT = lambda _: None  # noqa: E731 - a listener that ignores progress


@pytest.fixture
def aws(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The cloud, with the environment variables that make it AWS for this process."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, text in cloud.variables().items():
        monkeypatch.setenv(name, text)
    return cloud


Maker = Callable[..., Fleet]


@pytest.fixture
def new_fleet(aws: Cloud, tmp_path: Path) -> Iterator[Maker]:
    """Return a function that makes a fleet of a new run; remaining fleets are torn down."""
    made: list[Fleet] = []

    def make(name: str = "first", folder: Path | None = None, **settings: object) -> Fleet:
        config = RunConfig(on="aws", nodes=3, aws=AwsConfig(**settings))  # type: ignore[arg-type]
        clients = open_clients(config.aws)
        run_id = f"{name.encode().hex():0>16}"[-16:]
        mark = mark_of(config, clients, run_id, name, time.time())
        place = folder or tmp_path / name
        place.mkdir(exist_ok=True)
        made.append(open_fleet(clients, plan_cloud(config, clients), mark, place, config.aws))
        return made[-1]

    yield make
    aws.faults.clear()
    aws.faults.expire_credentials(expired=False)
    for fleet in made:
        fleet.teardown(SILENT)


def launch(fleet: Fleet, node: str = "aws-1") -> CloudNode:
    """Launch a node that stays idle after its boot."""
    return fleet.launch(node, USER_DATA, SILENT)


def clients_of(fleet: Fleet) -> Clients:
    """Return clients as on another machine, which has no record of the fleet."""
    return open_clients(AwsConfig(region=fleet.plan.region))


# ---- launching ----------------------------------------------------------------------------------


def test_thirty_nodes_cost_few_calls(aws: Cloud, new_fleet: Maker) -> None:
    """Thirty simultaneous launches take at most two calls each."""
    aws.faults.set(pending_seconds=3.0)
    fleet = new_fleet()
    before = aws.calls

    def up(number: int) -> CloudNode:
        return fleet.wait_running(launch(fleet, f"aws-{number}"), SILENT)

    with ThreadPoolExecutor(30) as threads:
        nodes = list(threads.map(up, range(1, 31)))

    calls = aws.calls - before
    assert calls["ec2:RunInstances"] == 30
    assert sum(calls.values()) <= 60
    assert len({fleet.address(node) for node in nodes}) == 30


def test_a_hundred_nodes_start_under_throttling(aws: Cloud, new_fleet: Maker) -> None:
    """A hundred simultaneous launches succeed, once each, although AWS throttles most calls."""
    aws.faults.set(dead=100)
    aws.faults.throttle("ec2:RunInstances", times=200)
    fleet = new_fleet()

    with ThreadPoolExecutor(100) as threads:
        nodes = list(threads.map(lambda n: launch(fleet, f"aws-{n}"), range(1, 101)))

    assert len({node.instance_id for node in nodes}) == len(aws.nodes()) == 100
    assert aws.calls["ec2:RunInstances"] == 300
    assert all(one.instance_id for one in fleet._store.record.launches)


def test_an_instance_is_launched_as_promised(aws: Cloud, new_fleet: Maker) -> None:
    """An instance has IMDSv2, no role, shutdown behaviour, an encrypted gp3 volume, and tags."""
    fleet = new_fleet(disk_gb=40)
    node = fleet.wait_running(launch(fleet), SILENT)

    ec2 = aws.client("ec2")
    (answer,) = ec2.describe_instances(InstanceIds=[node.instance_id])["Reservations"]
    (instance,) = answer["Instances"]
    (volume,) = ec2.describe_volumes()["Volumes"]
    shutdown = ec2.describe_instance_attribute(
        InstanceId=node.instance_id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert "IamInstanceProfile" not in instance
    assert shutdown["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (True, "gp3", 40)
    assert instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"]
    for tagged in (instance, volume):
        tags = {tag["Key"]: tag["Value"] for tag in tagged["Tags"]}
        assert tags["skygrid:run"] == fleet.mark.run_id
        assert tags["skygrid:node"] == "aws-1"
        assert tags["skygrid:owner"] == fleet.mark.owner
        assert tags["skygrid:expires"].endswith("Z")
    assert node.expires_at == pytest.approx(fleet.mark.expires_at, abs=1)


def test_only_the_caller_has_access(aws: Cloud, new_fleet: Maker) -> None:
    """The group of a run has one ingress rule: port 22 from the caller's address."""
    group_id = new_fleet().open()

    (group,) = aws.client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert [one["CidrIp"] for one in rule["IpRanges"]] == ["203.0.113.10/32"]
    assert not rule["UserIdGroupPairs"]


def test_without_capacity_the_next_pool_is_used(aws: Cloud, new_fleet: Maker) -> None:
    """A zone without capacity is skipped, and not tried again for other nodes."""
    fleet = new_fleet()
    aws.faults.no_capacity(Pool(zone="us-east-1a"))

    first, second = launch(fleet, "aws-1"), launch(fleet, "aws-2")

    assert (first.zone, second.zone) == ("us-east-1b", "us-east-1b")
    assert aws.calls["ec2:RunInstances"] == 3


def test_capacity_in_no_zone_lists_every_pool(aws: Cloud, new_fleet: Maker) -> None:
    """If no pool has capacity, the message lists each of them and no instance is left."""
    fleet = new_fleet(instance_types=("c7i.xlarge",), zones=("us-east-1a", "us-east-1b"))
    aws.faults.no_capacity()

    with pytest.raises(NodeError) as caught:
        launch(fleet)

    text = str(caught.value)
    for zone in ("a", "b"):
        assert f"c7i.xlarge on-demand in us-east-1{zone}: no capacity (Insufficient" in text
    assert caught.value.exit_code == 3
    assert not aws.nodes()


def test_a_reached_quota_is_named_with_its_page(aws: Cloud, new_fleet: Maker) -> None:
    """At the account's quota no other zone is tried, and the quota's page is named."""
    aws.faults.set(on_demand_vcpus=4)
    fleet = new_fleet()
    launch(fleet, "aws-1")

    with pytest.raises(NodeError, match=r"Running On-Demand Standard .*L-1216C47A"):
        launch(fleet, "aws-2")

    assert aws.calls["ec2:RunInstances"] == 2


def test_spot_without_capacity_becomes_on_demand(aws: Cloud, new_fleet: Maker) -> None:
    """With spot-then-on-demand, neither a quota nor a lack of spot capacity ends the launch."""
    fleet = new_fleet(market="spot-then-on-demand", zones=("us-east-1a",))
    aws.faults.set(spot_count=1)

    markets = [launch(fleet, f"aws-{number}").market for number in (1, 2)]

    assert markets == ["spot", "on-demand"]


def test_throttled_launches_are_tried_again(aws: Cloud, new_fleet: Maker) -> None:
    """A throttled launch is repeated in the same pool and succeeds once."""
    fleet = new_fleet()
    aws.faults.throttle("ec2:RunInstances", times=2)

    assert launch(fleet).zone == "us-east-1a"
    assert len(aws.nodes()) == 1


def test_a_lost_answer_launches_no_second_instance(aws: Cloud, new_fleet: Maker) -> None:
    """A repeated call after a lost answer returns the same instance."""
    fleet = new_fleet()
    aws.faults.lose_answer("ec2:RunInstances")

    node = launch(fleet)

    assert [one.id for one in aws.nodes()] == [node.instance_id]


def test_a_used_token_is_replaced(aws: Cloud, new_fleet: Maker) -> None:
    """A token whose instance has ended is replaced by that of the next generation."""
    fleet = new_fleet()
    aws.faults.fail("ec2:RunInstances", "IdempotentInstanceTerminated", status=400)

    launch(fleet)

    tokens = [one.generation for one in fleet._store.record.launches]
    assert tokens == [1, 2]


def test_a_missing_permission_is_named(aws: Cloud, new_fleet: Maker) -> None:
    """Without the permission to launch, the message names the IAM action after one call."""
    fleet = new_fleet()
    aws.faults.deny("ec2:RunInstances")

    with pytest.raises(NodeError, match=r"do not allow ec2:RunInstances .*IAM policy"):
        launch(fleet)

    assert aws.calls["ec2:RunInstances"] == 1


def test_a_group_that_is_not_visible_yet_is_waited_for(aws: Cloud, new_fleet: Maker) -> None:
    """A new security group may be unknown to the next calls for a moment."""
    fleet = new_fleet()
    aws.faults.fail("ec2:AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound", status=400)
    aws.faults.fail("ec2:RunInstances", "InvalidGroup.NotFound", status=400)

    assert launch(fleet).instance_id


# ---- watch --------------------------------------------------------------------------------------


def test_an_instance_that_ends_ends_the_wait(aws: Cloud, new_fleet: Maker) -> None:
    """The end of an instance ends the wait for it, with the reason."""
    aws.faults.set(pending_seconds=60.0)
    fleet = new_fleet()
    node = launch(fleet)
    aws.client("ec2").terminate_instances(InstanceIds=[node.instance_id])

    with pytest.raises(InstanceGoneError, match=node.instance_id):
        fleet.wait_running(node, SILENT)


def test_an_instance_without_its_volume_key_names_the_remedy(aws: Cloud, new_fleet: Maker) -> None:
    """An instance that ends at once because of the account's key for volumes has a remedy."""
    aws.faults.set(volume_key="arn:aws:kms:us-east-1:123456789012:key/1", pending_seconds=60.0)
    aws.faults.deny("kms:*")
    fleet = new_fleet()
    node = launch(fleet)

    with pytest.raises(InstanceGoneError, match=r"Client\.InternalError.*the key that encrypts"):
        fleet.wait_running(node, SILENT)


def test_an_instance_that_is_never_ready_ends_the_wait(aws: Cloud, new_fleet: Maker) -> None:
    """After launch_timeout, the wait ends with a remedy."""
    aws.faults.set(pending_seconds=60.0)
    fleet = new_fleet(launch_timeout=1.0)

    with pytest.raises(NodeError, match=r"still pending 1 s after .* launch_timeout"):
        fleet.wait_running(launch(fleet), SILENT)


def test_instances_that_are_not_visible_yet_are_waited_for(aws: Cloud, new_fleet: Maker) -> None:
    """A new instance that other calls do not show yet is not lost."""
    aws.faults.set(invisible_seconds=1.5)
    fleet = new_fleet()
    node = launch(fleet)

    assert fleet.gone(node) is None
    assert fleet.wait_running(node, SILENT).state == "running"


def test_gone_returns_the_reason(aws: Cloud, new_fleet: Maker) -> None:
    """An interrupted spot instance is gone for the reason that AWS gives."""
    fleet = new_fleet(market="spot")
    node = fleet.wait_running(launch(fleet), SILENT)
    assert fleet.gone(node) is None
    aws.interrupt(node.instance_id, seconds=0.0)

    wait(lambda: fleet.gone(node), lambda: "the fleet to know")

    assert "Server.SpotInstanceTermination" in (fleet.gone(node) or "")


def test_an_api_without_answers_ends_no_node(aws: Cloud, new_fleet: Maker) -> None:
    """A node is not gone if the credentials have expired."""
    fleet = new_fleet()
    node = fleet.wait_running(launch(fleet), SILENT)
    fleet._watch._looked_at = -1e9
    aws.faults.expire_credentials()

    assert fleet.gone(node) is None
    aws.faults.expire_credentials(expired=False)


def test_throttled_looks_are_repeated(aws: Cloud, new_fleet: Maker) -> None:
    """Throttled calls do not end the wait for an instance."""
    aws.faults.set(pending_seconds=1.0)
    fleet = new_fleet()
    node = launch(fleet)
    aws.faults.throttle("ec2:DescribeInstances", times=6)

    assert fleet.wait_running(node, SILENT).state == "running"


# ---- access -------------------------------------------------------------------------------------


def test_a_changed_address_gets_access(aws: Cloud, new_fleet: Maker) -> None:
    """After a change of the caller's address, the rule contains the new address only."""
    fleet = new_fleet()
    group_id = fleet.open()
    assert fleet.repair_access() is None
    aws.faults.move_caller("203.0.113.11")
    fleet._access_at = 0.0

    assert fleet.repair_access() == (
        "this machine's address changed from 203.0.113.10/32 to 203.0.113.11/32, which is let in "
        "now"
    )

    (group,) = aws.client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert [one["CidrIp"] for one in rule["IpRanges"]] == ["203.0.113.11/32"]


def test_an_allowed_network_is_not_changed(aws: Cloud, new_fleet: Maker) -> None:
    """With allow_cidr the caller's address is not looked up."""
    fleet = new_fleet(allow_cidr="198.51.100.0/24", address_url="http://127.0.0.1:9/")
    fleet.open()

    assert fleet.repair_access() is None


# ---- end ----------------------------------------------------------------------------------------


def test_teardown_leaves_nothing_and_verifies_it(aws: Cloud, new_fleet: Maker) -> None:
    """After teardown the API shows no instance, volume or group, and no launch is possible."""
    aws.faults.set(shutdown_seconds=1.0, interface_seconds=1.5)
    fleet = new_fleet()
    for number in (1, 2):
        launch(fleet, f"aws-{number}")
    said: list[str] = []

    report = fleet.teardown(said.append)

    assert (report.left, report.verified, report.ended, report.notes) == ((), True, 2, ())
    assert "ending 2 nodes" in said
    assert aws.left() == {}
    with pytest.raises(NodeError, match="nothing more is launched"):
        launch(fleet, "aws-3")


def test_a_termination_that_fails_five_times_still_succeeds(aws: Cloud, new_fleet: Maker) -> None:
    """TerminateInstances is repeated after errors of any kind."""
    fleet = new_fleet()
    launch(fleet)
    aws.faults.fail("ec2:TerminateInstances", "UnauthorizedOperation", times=5, status=403)

    assert fleet.teardown(SILENT).verified
    assert aws.left() == {}


def test_teardown_of_an_instance_that_is_not_visible_yet(aws: Cloud, new_fleet: Maker) -> None:
    """An instance that the API does not show yet is ended."""
    aws.faults.set(invisible_seconds=2.0)
    fleet = new_fleet()
    launch(fleet)

    assert fleet.teardown(SILENT).ended == 1
    assert aws.left() == {}


def test_teardown_waits_for_a_launch_under_way(aws: Cloud, new_fleet: Maker) -> None:
    """An instance whose launch is being answered during teardown is ended."""
    fleet = new_fleet()
    fleet.open()
    aws.faults.delay_answer("ec2:RunInstances", 1.0)

    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(launch, fleet)
        wait(aws.nodes, lambda: "the launch to be executed")
        report = fleet.teardown(SILENT)
        assert isinstance(late.exception(), NodeError)

    assert (report.ended, report.verified) == (1, True)
    assert aws.left() == {}


def test_a_failed_teardown_names_the_remaining_instance(aws: Cloud, new_fleet: Maker) -> None:
    """With expired credentials, the report names the instance and the remedy."""
    fleet = new_fleet()
    node = launch(fleet)
    fleet.wait_running(node, SILENT)
    aws.faults.expire_credentials()

    report = fleet.teardown(SILENT)

    assert not report.verified
    assert node.instance_id in report.notes[0]
    assert "skygrid down first" in report.notes[0]
    assert "renew the credentials" in report.notes[0]
    aws.faults.expire_credentials(expired=False)
    assert fleet.teardown(SILENT).verified


def test_objects_of_the_run_are_deleted(aws: Cloud, new_fleet: Maker) -> None:
    """Only the run's own objects and unfinished uploads are deleted from its bucket."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="data")
    fleet = new_fleet(bucket="data")
    s3.put_object(Bucket="data", Key=f"skygrid/{fleet.mark.run_id}/x", Body=b"1")
    s3.create_multipart_upload(Bucket="data", Key=f"skygrid/{fleet.mark.run_id}/y")
    s3.put_object(Bucket="data", Key="skygrid/other/x", Body=b"1")

    assert fleet.teardown(SILENT).verified

    assert [one["Key"] for one in s3.list_objects_v2(Bucket="data")["Contents"]] == [
        "skygrid/other/x"
    ]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="data")
    s3.delete_object(Bucket="data", Key="skygrid/other/x")


def test_remaining_objects_are_not_verified(aws: Cloud, new_fleet: Maker) -> None:
    """Objects that cannot be deleted are named with their place, and the end is not verified."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="data")
    fleet = new_fleet(bucket="data")
    place = f"skygrid/{fleet.mark.run_id}/"
    launch(fleet)
    s3.put_object(Bucket="data", Key=f"{place}one", Body=b"1")
    aws.faults.deny("s3:DeleteObject")
    report = fleet.teardown(SILENT)
    assert (report.verified, report.left) == (False, ())
    (note,) = report.notes
    assert f"s3://data/{place}" in note
    assert "s3:DeleteObject" in note
    assert aws.left() == {"objects": [f"data/{place}one"]}

    aws.faults.set(denied=[])
    assert fleet.teardown(SILENT).verified


def test_an_instance_that_shows_late_is_ended_with_its_group(aws: Cloud, new_fleet: Maker) -> None:
    """An instance that becomes visible while its security group cannot be deleted is ended."""
    aws.faults.set(dead=1, invisible_seconds=3.0)
    fleet = new_fleet()
    launch(fleet)

    report = down(clients_of(fleet), [RunResources(run_id=fleet.mark.run_id)], SILENT)

    assert (report.ended, report.verified, report.notes) == (1, True, ())
    assert aws.left() == {}


def test_an_instance_that_shows_after_the_search_is_ended(aws: Cloud, new_fleet: Maker) -> None:
    """An instance that becomes visible during the search for leftovers is ended, not reported."""
    aws.faults.set(dead=1, invisible_seconds=3.0)
    fleet = new_fleet()
    launch(fleet)
    # The group is not waited for, so that only the search can find the instance.
    aws.faults.fail("ec2:DeleteSecurityGroup", "UnauthorizedOperation", status=403)

    report = down(clients_of(fleet), [RunResources(run_id=fleet.mark.run_id)], SILENT)

    assert (report.ended, report.verified, report.notes) == (1, True, ())
    assert aws.left() == {}


def test_a_launch_that_ends_refused_after_a_lost_answer_is_searched_for(
    aws: Cloud, new_fleet: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an answer was lost and the repeated call is refused, the instance is found and ended."""
    aws.faults.set(dead=1, invisible_seconds=3.0)
    fleet = new_fleet()
    aws.faults.lose_answer("ec2:RunInstances")
    aws.faults.fail("ec2:RunInstances", "UnauthorizedOperation", status=403)
    with pytest.raises(NodeError, match="do not allow ec2:RunInstances"):
        launch(fleet)
    (intent,) = fleet._store.record.launches
    assert intent.open
    monkeypatch.setattr(limits, "EC2_ANSWER", 1.0)
    monkeypatch.setattr(limits, "EC2_VISIBLE", 4.0)

    report = fleet.teardown(SILENT)

    assert (report.ended, report.verified, report.notes) == (1, True, ())
    (found,) = fleet._store.record.launches
    assert found.instance_id is not None, "its cost is counted"
    assert aws.left() == {}


def test_two_runs_are_independent(aws: Cloud, new_fleet: Maker) -> None:
    """The end of one run leaves the nodes and the group of another."""
    one, other = new_fleet("one"), new_fleet("other")
    launch(one)
    kept = launch(other)

    assert one.teardown(SILENT).verified

    assert [node.id for node in aws.nodes("pending", "running")] == [kept.instance_id]
    assert other.gone(kept) is None


def test_down_finds_a_run_by_its_tags(aws: Cloud, new_fleet: Maker) -> None:
    """A machine without a record of the run finds its nodes by tags and ends all of them."""
    fleet = new_fleet()
    node = fleet.wait_running(launch(fleet), SILENT)
    clients = clients_of(fleet)

    (found,) = find_cloud_nodes(clients)
    assert (found.instance_id, found.run_name, found.node) == (node.instance_id, "first", "aws-1")
    assert found.dollars_per_hour == fleet.dollars_per_hour()
    report = down(clients, find_resources(clients), SILENT)

    assert (report.ended, report.verified) == (1, True)
    assert aws.left() == {}
    assert find_cloud_nodes(clients) == []


# ---- a killed driver ----------------------------------------------------------------------------

DRIVER = """
import sys, time
from pathlib import Path
from skygrid.config import AwsConfig, RunConfig
from skygrid.nodes.ec2.fleet import open_fleet
from skygrid.nodes.ec2.planning.plan import mark_of, plan_cloud
from skygrid.nodes.ec2.api import open_clients

config = RunConfig(on="aws", nodes=1)
clients = open_clients(config.aws)
mark = mark_of(config, clients, "0" * 16, "killed", time.time())
fleet = open_fleet(clients, plan_cloud(config, clients), mark, Path(sys.argv[1]), config.aws)
fleet.launch("aws-1", b"#cloud-config\\n{}\\n", print)
print("launched", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("moment", ["before the answer", "before it is visible", "after"])
def test_instances_of_a_driver_killed_around_a_launch_are_found(
    aws: Cloud, tmp_path: Path, moment: str
) -> None:
    """`down` finds and ends the instances of a driver that was killed while it launched."""
    if moment == "before the answer":
        aws.faults.delay_answer("ec2:RunInstances", 30.0)
    elif moment == "before it is visible":
        aws.faults.set(invisible_seconds=2.0)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], env=aws.environment(), stdout=subprocess.PIPE
    )
    assert driver.stdout is not None
    if moment == "before the answer":
        wait(aws.nodes, lambda: "the launch to be executed")
    else:
        wait(lambda: b"launched" in driver.stdout.readline(), lambda: "the launch")  # type: ignore[union-attr]
    driver.send_signal(signal.SIGKILL)
    driver.communicate()

    record = read_cloud_record(tmp_path)
    assert record is not None
    assert record.launches[0].open == (moment == "before the answer")
    clients = open_clients(AwsConfig())
    # An unknown launch becomes visible within this time, or never.
    report = down(clients, [_until_now(resources_of(record, "killed"))], SILENT)

    assert (report.ended, report.verified) == (1, True)
    assert aws.left() == {}


def _until_now(resources):  # type: ignore[no-untyped-def]
    import msgspec

    return msgspec.structs.replace(resources, tokens_until=time.time() + 1.0)


def test_a_resumed_run_adopts_its_living_nodes(
    aws: Cloud, new_fleet: Maker, tmp_path: Path
) -> None:
    """The next session of a run finds its nodes and their cost, and can end them."""
    first = new_fleet(folder=tmp_path)
    kept, lost = launch(first, "aws-1"), launch(first, "aws-2")
    first.wait_running(kept, SILENT)
    first.end(lost)
    wait(lambda: first.gone(lost), lambda: "the end")

    second = new_fleet(folder=tmp_path)

    assert [one.instance_id for one in second.living()] == [kept.instance_id]
    adopted = second.adopt("aws-1")
    assert adopted is not None
    assert adopted.instance_id == kept.instance_id
    assert second.adopt("aws-2") is None
    assert second.dollars_per_hour() == pytest.approx(0.1785)
    assert second.dollars(time.time()) == pytest.approx(2 * 0.1785 / 60, rel=0.2)
    assert second.teardown(SILENT).verified
