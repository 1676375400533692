"""Nodes and drivers that end in mid-run. After each the API is asked what is left: nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cloud.client import Cloud, cloud, cloud_server
from tests.cloud_runs import LONG_SEARCH, RUN, CloudBench
from tests.command import GATED_SEARCH, Command, recorded, wait_for

__all__ = ["cloud", "cloud_server"]

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(400)]


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """A search of 200 fits."""
    return CloudBench(tmp_path, cloud, LONG_SEARCH)


def kill(command: Command) -> None:
    """End the driver at once, as an empty battery does."""
    command.signal(signal.SIGKILL)
    command.process.communicate()


def test_interrupted_spot_nodes_are_replaced(bench: CloudBench) -> None:
    """All nodes are taken back at two minutes' notice: others take over, and no fit is lost."""
    bench.aws["market"] = "spot"
    (bench.folder / "search.py").write_text(GATED_SEARCH)
    command = bench.started(1, "--nodes", "2")
    for name in ("aws-1", "aws-2"):
        bench.cloud.interrupt(bench.instance(name).id, seconds=40)
    wait_for(lambda: len(bench.cloud.nodes()) == 4, "instances in the place of the two")
    (bench.folder / "go").touch()
    err = bench.ended_well(command)
    assert "aws-1: leaving" in err
    launched = {node.tags["skygrid:node"] for node in bench.cloud.nodes()}
    assert launched == {"aws-1", "aws-2", "aws-1b", "aws-2b"}
    assert set(bench.nodes()) & {"aws-1b", "aws-2b"}
    assert bench.attempts() == {1: 40}, "what ran when the notice came was handed in"
    assert bench.fitted == 41


def test_a_machine_that_dies_is_replaced(bench: CloudBench) -> None:
    """A node falls silent while the API says that it runs: another one takes its place."""
    bench.aws["lost_after"] = 3.0
    command = bench.started(10, "--nodes", "1")
    bench.cloud.kill(bench.instance("aws-1").id)
    bench.ended_well(command)
    assert set(bench.nodes()) == {"aws-1", "aws-1b"}


def test_a_driver_that_dies_leaves_nothing(bench: CloudBench) -> None:
    """kill -9 of the driver in mid-search: the nodes end themselves, resume finishes elsewhere."""
    bench.aws |= {"lease_minutes": 0.25, "orphan_after": 3.0}
    kill(bench.started(20, "--nodes", "2"))
    before = recorded(bench.folder, RUN)
    wait_for(lambda: not bench.cloud.nodes("pending", "running"), "the nodes' own end")
    wait_for(lambda: not bench.cloud.processes(), "the end of what ran on them")
    bench.ended_well(bench.resume())
    assert len(bench.cloud.nodes()) == 4, "two nodes, and two for the rest"
    assert 0 < before < 200


def test_a_run_that_is_resumed_at_once_finds_its_nodes(bench: CloudBench) -> None:
    """Nodes whose driver died are adopted by the next one, while they still wait."""
    kill(bench.started(20, "--nodes", "2"))
    bench.ended_well(bench.resume())
    assert len(bench.cloud.nodes()) == 2


def test_a_driver_that_dies_in_a_launch(bench: CloudBench) -> None:
    """kill -9 while RunInstances is under way: what it launched ends itself, resume finishes."""
    bench.aws["lease_minutes"] = 0.25
    bench.cloud.faults.delay_answer("ec2:RunInstances", 30.0, times=2)
    command = bench.start("--nodes", "2")
    wait_for(lambda: len(bench.cloud.nodes("running")) == 2, "instances that nobody was told of")
    kill(command)
    wait_for(lambda: not bench.cloud.nodes("pending", "running"), "the nodes' own end")
    bench.ended_well(bench.resume())


def test_a_driver_that_dies_while_nodes_come_up(bench: CloudBench) -> None:
    """kill -9 while nodes are being made ready: they end themselves, resume finishes."""
    bench.aws["lease_minutes"] = 0.25
    bench.cloud.faults.set(key_seconds=3.0)
    command = bench.start("--nodes", "2")
    wait_for(lambda: len(bench.cloud.nodes("running")) == 2, "instances")
    kill(command)
    bench.cloud.faults.set(key_seconds=0.0)
    wait_for(lambda: not bench.cloud.nodes("pending", "running"), "the nodes' own end")
    bench.ended_well(bench.resume())
