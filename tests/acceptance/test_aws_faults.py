"""What a run on EC2 survives, or ends in. After each fault nothing is left in the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.client import REGION, Cloud, cloud, cloud_server
from tests.cloud.faults import Pool
from tests.cloud_runs import CloudBench
from tests.command import SLOW_SEARCH, wait_for

__all__ = ["cloud", "cloud_server"]

pytestmark = pytest.mark.timeout(300)

LONG_SEARCH = SLOW_SEARCH.replace("range(-5, 5)", "range(-25, 25)")
"""50 candidates x 4 splits of a tenth of a second."""


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """A search of 200 fits on two nodes."""
    return CloudBench(tmp_path, cloud, LONG_SEARCH)


# ---- launches ------------------------------------------------------------------------------------


def test_a_launch_whose_answer_was_lost_is_not_made_twice(bench: CloudBench) -> None:
    """A RunInstances that was carried out and not answered is found again by its token."""
    bench.cloud.faults.lose_answer("ec2:RunInstances", times=2)
    bench.ended_well(bench.start())
    assert len(bench.instances()) == 2
    assert bench.cloud.calls["ec2:RunInstances"] == 4


def test_calls_that_are_throttled_are_made_again(bench: CloudBench) -> None:
    """A run goes on when AWS wants fewer calls, whichever they are."""
    for action in ("ec2:RunInstances", "ec2:DescribeInstances", "ec2:TerminateInstances"):
        bench.cloud.faults.throttle(action, times=2)
    bench.ended_well(bench.start())
    assert len(bench.instances()) == 2


def test_an_instance_that_nobody_knows_yet_is_waited_for(bench: CloudBench) -> None:
    """A new instance that the API does not find for a while is neither lost nor launched twice."""
    bench.cloud.faults.set(invisible_seconds=2.0, pending_seconds=2.5)
    bench.ended_well(bench.start())
    assert len(bench.instances()) == 2


def test_another_zone_is_taken_where_one_has_no_capacity(bench: CloudBench) -> None:
    """Without capacity in a zone the nodes start in the next one."""
    bench.cloud.faults.no_capacity(Pool(zone=f"{REGION}a"), Pool(zone=f"{REGION}b"))
    bench.ended_well(bench.start())
    assert {one.zone for one in bench.instances()} <= {f"{REGION}{letter}" for letter in "cdef"}


def test_without_capacity_anywhere_every_pool_is_named(bench: CloudBench) -> None:
    """Exit 3, and the message lists each zone and type that was tried."""
    bench.aws.update(instance_types=["c7i.large", "m7i.large"], zones=[f"{REGION}a", f"{REGION}b"])
    bench.cloud.faults.no_capacity()
    err = bench.ended_with(3, bench.start())
    for zone in ("a", "b"):
        for name in ("c7i.large", "m7i.large"):
            assert any(
                name in line
                and f"{REGION}{zone}" in line
                and "InsufficientInstanceCapacity" in line
                for line in err.splitlines()
            ), err
    assert bench.instances() == []
    bench.wait_clean()


def test_a_quota_that_is_used_up_is_named_with_its_page(bench: CloudBench) -> None:
    """Exit 3; the message has the quota's name and the address where to ask for more."""
    bench.cloud.faults.set(on_demand_vcpus=3)
    err = bench.ended_with(3, bench.start())
    assert "Running On-Demand Standard" in err
    assert "servicequotas/home/services/ec2/quotas/L-1216C47A" in err
    bench.wait_clean()


def test_what_is_not_allowed_is_named(bench: CloudBench) -> None:
    """Exit 3; the message names the missing IAM action."""
    bench.cloud.faults.deny("ec2:RunInstances")
    err = bench.ended_with(3, bench.start())
    assert "ec2:RunInstances" in err
    bench.wait_clean()


def test_one_of_three_that_is_never_reachable_is_done_without(tmp_path: Path, cloud: Cloud) -> None:
    """With min_nodes the search runs on those that can be had; the silent one is ended too."""
    bench = CloudBench(tmp_path, cloud, LONG_SEARCH, nodes=3, launch_timeout=15.0, replace=False)
    bench.extra = "min_nodes = 2"
    cloud.faults.set(unreachable=1)
    bench.ended_well(bench.start())
    assert len(bench.nodes()) == 2


# ---- in mid-run ----------------------------------------------------------------------------------


def test_a_caller_whose_address_changes_is_let_in_again(bench: CloudBench) -> None:
    """The security group gets the new address and loses the old one; every fit comes in once."""
    command = bench.started(20)
    bench.cloud.faults.move_caller("198.51.100.7")
    bench.wait_for_fits(command, 60)
    assert command.process.poll() is None
    ec2 = bench.cloud.client("ec2")
    blocks = [
        block["CidrIp"]
        for group in ec2.describe_security_groups()["SecurityGroups"]
        if group["GroupName"] != "default"
        for rule in group["IpPermissions"]
        for block in rule["IpRanges"]
    ]
    assert blocks == ["198.51.100.7/32"]
    bench.ended_well(command)


def test_a_machine_that_dies_is_replaced(bench: CloudBench) -> None:
    """A node that falls silent for good is given up, another is launched, nothing is missing."""
    bench.aws.update(lost_after=4.0)
    command = bench.started(20)
    bench.cloud.kill(bench.instance("aws-1").id)
    bench.ended_well(command)
    assert "aws-1b" in {one.tags["skygrid:node"] for one in bench.instances()}


def test_credentials_that_expire_do_not_cost_the_results(bench: CloudBench) -> None:
    """The search is finished and saved; what could not be ended is said, and ends itself."""
    bench.aws.update(lease_minutes=0.1)
    command = bench.started(20)
    bench.cloud.faults.expire_credentials()
    err = bench.ended_with(3, command)
    bench.check_answer()
    assert "skygrid down" in err
    bench.cloud.faults.expire_credentials(False)
    wait_for(lambda: not bench.instances("running", "shutting-down"), "the nodes to end themselves")
    code, out, said = bench.command("down", "r").end()
    assert code == 0, f"{out}\n{said}"
    bench.wait_clean()


def test_a_termination_that_fails_five_times_succeeds(bench: CloudBench) -> None:
    """The teardown goes on until the API says that all is gone."""
    bench.cloud.faults.fail("ec2:TerminateInstances", "InternalError", times=5)
    bench.cloud.faults.set(shutdown_seconds=1.0, interface_seconds=1.0)
    err = bench.ended_well(bench.start())
    assert bench.cloud.calls["ec2:TerminateInstances"] >= 6
    assert "Traceback" not in err


def test_two_runs_at_once_do_not_touch_each_others_nodes(tmp_path: Path, cloud: Cloud) -> None:
    """The run that ends first ends its own nodes and its own group, and no other's."""
    for name in ("short", "long"):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o777)
    short = CloudBench(tmp_path / "short", cloud, SLOW_SEARCH, nodes=1)
    long = CloudBench(tmp_path / "long", cloud, LONG_SEARCH, nodes=1)
    cloud.mount(tmp_path)
    (tmp_path / "short").chmod(0o777)
    other = long.started(10)
    code, out, err = short.start().end(short.patience)
    assert code == 0, f"{out}\n{err}"
    short.check_answer()
    assert [len(cloud.nodes(state)) for state in ("running", "terminated")] == [1, 1]
    long.ended_well(other)
