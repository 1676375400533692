"""Nodes and drivers that die during a run. After each fault nothing is left in the API."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cloud.client import Cloud, cloud, cloud_server
from tests.cloud_runs import LONG_SEARCH, RUN, CloudBench
from tests.command import GATED_SEARCH, SLOW_SEARCH, Command, recorded, result, wait_for

__all__ = ["cloud", "cloud_server"]

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(400)]


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """Set up a search of 200 fits."""
    return CloudBench(tmp_path, cloud, LONG_SEARCH)


def kill(command: Command) -> None:
    """Kill the driver with SIGKILL."""
    command.signal(signal.SIGKILL)
    command.process.communicate()


def test_interrupted_spot_nodes_are_replaced(bench: CloudBench) -> None:
    """Interrupted spot nodes are replaced, and no fit is lost."""
    bench.aws["market"] = "spot"
    (bench.folder / "search.py").write_text(GATED_SEARCH)
    command = bench.started(1, "--nodes", "2")
    for name in ("aws-1", "aws-2"):
        bench.cloud.interrupt(bench.instance(name).id, seconds=40)
    wait_for(lambda: len(bench.cloud.nodes()) == 4, "two replacements")
    (bench.folder / "go").touch()
    err = bench.ended_well(command)
    assert "aws-1: leaving" in err
    launched = {node.tags["skygrid:node"] for node in bench.cloud.nodes()}
    assert launched == {"aws-1", "aws-2", "aws-1b", "aws-2b"}
    assert set(bench.nodes()) & {"aws-1b", "aws-2b"}
    assert bench.attempts() == {1: 40}, "running fits ended within the notice"
    assert bench.fitted == 41


def test_a_machine_that_dies_is_replaced(bench: CloudBench) -> None:
    """A node that falls silent while the API says that it runs is replaced."""
    bench.aws["lost_after"] = 3.0
    command = bench.started(10, "--nodes", "1")
    bench.cloud.kill(bench.instance("aws-1").id)
    bench.ended_well(command)
    assert set(bench.nodes()) == {"aws-1", "aws-1b"}


def test_a_driver_that_dies_leaves_nothing(bench: CloudBench) -> None:
    """After kill -9 of the driver the nodes end themselves, and resume finishes on new ones."""
    bench.aws |= {"lease_minutes": 0.25, "orphan_after": 3.0}
    kill(bench.started(20, "--nodes", "2"))
    before = recorded(bench.folder, RUN)
    wait_for(lambda: not bench.cloud.nodes("pending", "running"), "the nodes' own end")
    wait_for(lambda: not bench.cloud.processes(), "the end of their processes")
    bench.ended_well(bench.resume())
    assert len(bench.cloud.nodes()) == 4, "two nodes, then two more"
    assert 0 < before < 200


def test_a_run_that_is_resumed_at_once_adopts_its_nodes(bench: CloudBench) -> None:
    """A resumed run adopts nodes that still wait after their driver died."""
    kill(bench.started(20, "--nodes", "2"))
    bench.ended_well(bench.resume())
    assert len(bench.cloud.nodes()) == 2


def test_a_driver_that_dies_in_the_teardown_leaves_nothing(bench: CloudBench) -> None:
    """After kill -9 of a driver that ends its nodes, resume ends them and completes the bill."""
    bench.cloud.faults.set(shutdown_seconds=20.0)
    (bench.folder / "search.py").write_text(SLOW_SEARCH)
    command = bench.started(1, "--nodes", "2")
    wait_for(lambda: bench.record()["state"] == "complete", "the results", bench.patience)
    kill(command)
    assert bench.record()["bill"] is None
    code, _, err = Command(bench.folder, "resume", RUN, env=bench.bed.environment()).end(200)
    assert code == 0, err
    assert "r is complete; nodes of it that may be left are ended now" in err
    bench.cloud.check_nothing_left()
    assert bench.cloud.calls["ec2:RunInstances"] == 2
    for bill in (bench.record()["bill"], result(bench.folder, RUN)["bill"]):
        assert bill["verified"]
        assert bill["dollars"] > 0


def test_a_driver_that_dies_in_a_launch_leaves_nothing(bench: CloudBench) -> None:
    """After kill -9 during RunInstances the new nodes end themselves, and resume finishes."""
    bench.aws["lease_minutes"] = 0.25
    bench.cloud.faults.delay_answer("ec2:RunInstances", 30.0, times=2)
    command = bench.start("--nodes", "2")
    wait_for(lambda: len(bench.cloud.nodes("running")) == 2, "instances of unanswered calls")
    kill(command)
    wait_for(lambda: not bench.cloud.nodes("pending", "running"), "the nodes' own end")
    bench.ended_well(bench.resume())


def test_a_driver_that_dies_while_nodes_are_prepared_leaves_nothing(bench: CloudBench) -> None:
    """After kill -9 while nodes are prepared they end themselves, and resume finishes."""
    bench.aws["lease_minutes"] = 0.25
    bench.cloud.faults.set(key_seconds=3.0)
    command = bench.start("--nodes", "2")
    wait_for(lambda: len(bench.cloud.nodes("running")) == 2, "instances")
    kill(command)
    bench.cloud.faults.set(key_seconds=0.0)
    wait_for(lambda: not bench.cloud.nodes("pending", "running"), "the nodes' own end")
    bench.ended_well(bench.resume())
