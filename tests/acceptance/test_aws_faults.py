"""Faults of runs on EC2. After each one nothing is left in the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.client import REGION, Cloud, Pool, cloud, cloud_server
from tests.cloud_runs import LONG_SEARCH, RUN, CloudBench
from tests.command import SLOW_SEARCH, Command, wait_for

__all__ = ["cloud", "cloud_server"]

pytestmark = pytest.mark.cloud

GATED_SEARCH = SLOW_SEARCH.replace(
    "        time.sleep(self.seconds)\n",
    "        while self.shift == 0.4 and not LEDGER.with_name('go').exists():\n"
    "            time.sleep(0.05)\n",
)
"""A search of 40 fits, some of which wait for a file ``go`` in the folder."""


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """Set up a search of 200 fits."""
    return CloudBench(tmp_path, cloud, LONG_SEARCH)


@pytest.fixture
def short(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """Set up a search of 40 fits."""
    return CloudBench(tmp_path, cloud, SLOW_SEARCH)


# ---- launches ------------------------------------------------------------------------------------


def test_a_launch_whose_answer_was_lost_is_not_made_twice(short: CloudBench) -> None:
    """An executed RunInstances without an answer is found by its token and not repeated."""
    short.cloud.faults.lose_answer("ec2:RunInstances", times=2)
    short.ended_well(short.start("--nodes", "2"))
    assert len(short.cloud.nodes()) == 2
    assert short.cloud.calls["ec2:RunInstances"] == 4


def test_calls_that_are_throttled_are_made_again(short: CloudBench) -> None:
    """A run continues when AWS throttles any of its calls."""
    for action in ("ec2:RunInstances", "ec2:DescribeInstances", "ec2:TerminateInstances"):
        short.cloud.faults.throttle(action, times=2)
    short.ended_well(short.start("--nodes", "2"))
    assert len(short.cloud.nodes()) == 2


def test_an_instance_that_the_api_does_not_find_yet_is_waited_for(short: CloudBench) -> None:
    """A new instance that the API does not find yet is neither lost nor launched twice."""
    short.cloud.faults.set(invisible_seconds=2.0, pending_seconds=2.5)
    short.ended_well(short.start("--nodes", "2"))
    assert len(short.cloud.nodes()) == 2


def test_another_zone_is_taken_where_one_has_no_capacity(short: CloudBench) -> None:
    """Nodes start in the next zone when a zone has no capacity."""
    short.cloud.faults.no_capacity(Pool(zone=f"{REGION}a"), Pool(zone=f"{REGION}b"))
    short.ended_well(short.start("--nodes", "2"))
    zones = {one.zone for one in short.cloud.nodes()}
    assert zones.isdisjoint({f"{REGION}a", f"{REGION}b"})


def test_without_capacity_anywhere_every_pool_is_named(short: CloudBench) -> None:
    """Without capacity anywhere the run exits with 3 and lists each zone and type it tried."""
    types = ["c7i.large", "m7i.large"]
    short.aws |= {"instance_types": types, "zones": [f"{REGION}a", f"{REGION}b"]}
    short.cloud.faults.no_capacity()
    err = short.ended_with(3, short.start("--nodes", "2"))
    lines = [line for line in err.splitlines() if "InsufficientInstanceCapacity" in line]
    for name in types:
        for zone in short.aws["zones"]:
            assert any(name in line and zone in line for line in lines), err
    assert short.cloud.nodes() == []
    short.bed.wait_clean()


def test_a_quota_that_is_used_up_is_named_with_its_page(short: CloudBench) -> None:
    """An exhausted quota exits with 3; the message has its name and the page to raise it."""
    short.cloud.faults.set(on_demand_vcpus=3)
    err = short.ended_with(3, short.start("--nodes", "2"))
    assert "Running On-Demand Standard" in err
    assert "servicequotas/home/services/ec2/quotas/L-1216C47A" in err
    short.bed.wait_clean()


def test_a_missing_permission_is_named(short: CloudBench) -> None:
    """A missing permission exits with 3; the message names the IAM action."""
    short.cloud.faults.deny("ec2:RunInstances")
    err = short.ended_with(3, short.start("--nodes", "2"))
    assert "ec2:RunInstances" in err
    short.bed.wait_clean()


def test_a_node_that_is_never_reachable_is_left_out(short: CloudBench) -> None:
    """With min_nodes the search ends well although one of three nodes is never reachable."""
    short.extra = "min_nodes = 2"
    short.cloud.faults.set(unreachable=1)
    short.ended_well(short.start("--nodes", "3"))
    assert len(short.nodes()) == 2


# ---- during the run ------------------------------------------------------------------------------


def _admitted(cloud: Cloud) -> list[str]:
    """Return the address blocks that the run's security group admits."""
    return [
        block["CidrIp"]
        for group in cloud.client("ec2").describe_security_groups()["SecurityGroups"]
        if group["GroupName"] != "default"
        for rule in group["IpPermissions"]
        for block in rule["IpRanges"]
    ]


def test_a_caller_whose_address_changes_is_let_in_again(bench: CloudBench) -> None:
    """The security group gets the caller's new address and loses the old one; no fit is lost."""
    command = bench.started(20, "--nodes", "2")
    assert _admitted(bench.cloud) == ["203.0.113.10/32"]
    bench.cloud.faults.move_caller("198.51.100.7")
    bench.wait_for_fits(command, 60)
    assert _admitted(bench.cloud) == ["198.51.100.7/32"]
    err = bench.ended_well(command)
    assert "198.51.100.7" in err
    assert bench.attempts() == {1: 200}


def test_expired_credentials_lose_no_results(bench: CloudBench) -> None:
    """With expired credentials the search is saved, exit 3, and the nodes are ended over SSH."""
    command = bench.started(20, "--nodes", "2")
    bench.cloud.faults.expire_credentials()
    err = bench.ended_with(3, command)
    bench.check_answer()
    assert "expired" in err
    assert "skygrid down" in err
    wait_for(lambda: not bench.cloud.nodes("pending", "running"), "the nodes' own end")
    bench.cloud.faults.expire_credentials(False)
    down = Command(bench.folder, "down", RUN, "--yes", env=bench.bed.environment())
    code, out, err = down.end()
    assert code == 0, f"{out}\n{err}"
    bench.bed.wait_clean()


def test_a_termination_that_fails_five_times_succeeds(short: CloudBench) -> None:
    """The teardown continues until the API reports that everything is gone, the group included."""
    short.cloud.faults.fail("ec2:TerminateInstances", "InternalError", times=5)
    short.cloud.faults.set(shutdown_seconds=1.0, interface_seconds=1.0)
    short.ended_well(short.start("--nodes", "2"))
    assert short.cloud.calls["ec2:TerminateInstances"] >= 6
    assert "0 nodes left, verified" in short.out


def test_two_runs_at_once_do_not_touch_each_others_nodes(cloud: Cloud, tmp_path: Path) -> None:
    """The run that ends first deletes only its own nodes and group."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    first, second = (
        CloudBench(folder, cloud, search)
        for folder, search in zip(folders, (SLOW_SEARCH, GATED_SEARCH), strict=True)
    )
    cloud.mount(tmp_path)
    longer = second.started(10, "--nodes", "1")
    code, out, err = first.start("--nodes", "1").end()
    assert code == 0, f"{out}\n{err}"
    first.check_answer()
    assert [len(cloud.nodes(state)) for state in ("running", "terminated")] == [1, 1]
    (second.folder / "go").touch()
    second.ended_well(longer)
