"""What a run on AWS survives. After each fault the API is asked what is left: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.client import Cloud, Pool, cloud, cloud_server
from tests.cloud_runs import LONG_SEARCH, RUN, CloudBench
from tests.command import Command, wait_for

__all__ = ["cloud", "cloud_server"]


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """A search of 200 fits."""
    return CloudBench(tmp_path, cloud, LONG_SEARCH)


def test_a_node_that_nobody_can_reach_does_not_keep_the_others(bench: CloudBench) -> None:
    """One of three nodes is never reachable: with min_nodes the search ends on the others."""
    bench.extra = "min_nodes = 2"
    bench.cloud.faults.set(unreachable=1)
    bench.ended_well(bench.start("--nodes", "3"))
    assert len(bench.nodes()) == 2


def test_no_capacity_anywhere(bench: CloudBench) -> None:
    """Where no zone has capacity the run ends with exit code 3 and names every pool it tried."""
    bench.cloud.faults.no_capacity()
    err = bench.ended_with(3, bench.start("--nodes", "2"))
    for zone in {node.zone for node in bench.cloud.nodes()} or {"us-east-1a", "us-east-1b"}:
        assert zone in err
    bench.bed.wait_clean()


def test_no_capacity_in_one_zone_is_no_matter(bench: CloudBench) -> None:
    """Capacity that one zone lacks is taken from the next one."""
    bench.cloud.faults.no_capacity(Pool(zone="us-east-1a"))
    bench.ended_well(bench.start("--nodes", "2"))
    assert {node.zone for node in bench.cloud.nodes()}.isdisjoint({"us-east-1a"})


def test_a_quota_is_named(bench: CloudBench) -> None:
    """A quota that is too low ends the run with exit code 3, its name and where to raise it."""
    bench.cloud.faults.set(on_demand_vcpus=2)
    err = bench.ended_with(3, bench.start("--nodes", "2"))
    assert "quota" in err
    assert "console.aws.amazon.com" in err
    bench.bed.wait_clean()


def test_a_moved_caller_is_let_in_again(bench: CloudBench) -> None:
    """The caller's address changes in mid-run: the security group follows, no fit is lost."""
    command = bench.started(20, "--nodes", "2")
    bench.cloud.faults.move_caller("203.0.113.77")
    bench.cloud.cut()
    err = bench.ended_well(command)
    assert "203.0.113.77" in err
    assert bench.attempts() == {1: 200}


def test_a_termination_that_fails_five_times(bench: CloudBench) -> None:
    """TerminateInstances fails five times: the sixth time it succeeds, and nothing is left."""
    bench.cloud.faults.fail("ec2:TerminateInstances", "InternalError", times=5)
    bench.ended_well(bench.start("--nodes", "2"))
    assert "0 nodes left, verified" in bench.out


def test_credentials_that_expire(bench: CloudBench) -> None:
    """Credentials expire in mid-run: the results are saved, the nodes are told over SSH to end."""
    command = bench.started(20, "--nodes", "2")
    bench.cloud.faults.expire_credentials()
    err = bench.ended_with(3, command)
    assert "expired" in err
    bench.check_answer()
    wait_for(lambda: not bench.cloud.nodes("pending", "running"), "the nodes' own end")
    bench.cloud.faults.expire_credentials(False)
    skygrid_down = Command(bench.folder, "down", RUN, "--yes", env=bench.bed.environment())
    code, out, err = skygrid_down.end()
    assert code == 0, err
    bench.bed.wait_clean()


def test_two_runs_do_not_touch_each_other(bench: CloudBench, tmp_path: Path) -> None:
    """While one run ends its nodes, those of another work on."""
    command = bench.started(10, "--nodes", "2")
    other = tmp_path / "other"
    other.mkdir()
    second = CloudBench(other, bench.cloud)
    bench.cloud.mount(tmp_path)
    err = second.start("--nodes", "1").end()
    assert err[0] == 0, err
    assert bench.count_fits() >= 10
    bench.ended_well(command)
    assert bench.attempts() == {1: 200}
