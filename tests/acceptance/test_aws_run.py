"""Runs on AWS or the test cloud, from launch to teardown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.client import Cloud, cloud, cloud_server
from tests.cloud_runs import CloudBench
from tests.sshd import SshBed, ssh_bed

__all__ = ["cloud", "cloud_server", "ssh_bed"]

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(400)]


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """Set up a search of 40 fits."""
    return CloudBench(tmp_path, cloud)


def test_three_nodes_answer_as_scikit_learn_and_leave_nothing(bench: CloudBench) -> None:
    """`skygrid run search.py --nodes 3` gives scikit-learn's answer and leaves nothing."""
    bench.ended_well(bench.start("--nodes", "3"))
    assert "0 nodes left, verified" in bench.out
    assert set(bench.nodes()) == {"aws-1", "aws-2", "aws-3"}
    assert bench.cloud.calls["ec2:RunInstances"] == 3
    assert not (bench.run_folder() / "aws").exists(), "keys are left behind"


def test_nodes_without_a_public_address_are_reached_through_a_jump_host(
    tmp_path: Path, cloud: Cloud, ssh_bed: SshBed
) -> None:
    """With public_ip = false nodes are reached through a jump host, which may lose connections."""
    gate = ssh_bed.node(alias="gate")
    seen_from_inside = "172.31.255.10/32"
    bench = CloudBench(
        tmp_path,
        cloud,
        hosts=ssh_bed,
        public_ip=False,
        jump="gate",
        allow_cidr=seen_from_inside,
    )
    running = bench.started(5, "--nodes", "2")
    assert [node.public for node in cloud.nodes("running")] == [None, None]
    gate.kill_connections()
    bench.ended_well(running)
    assert "0 nodes left, verified" in bench.out
    assert bench.attempts() == {1: 40}
    assert gate.log.read_text().count("Accepted publickey") >= 4, "two nodes, twice"


LARGE_SEARCH = """
import numpy as np
from sklearn.dummy import DummyClassifier

rng = np.random.RandomState(0)
dataset = (rng.randn(40_000, 60), rng.randint(2, size=40_000))
estimator = DummyClassifier(random_state=0)
param_grid = {"strategy": ["prior", "stratified"]}
cv = 3
"""
"""Data of 19 MB that does not compress."""


def with_bucket(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """Set up a search whose data exceeds the threshold of its bucket."""
    cloud.client("s3").create_bucket(Bucket="data-of-runs")
    return CloudBench(tmp_path, cloud, LARGE_SEARCH, bucket="data-of-runs", bucket_over_gb=0.01)


def test_large_data_is_uploaded_once(tmp_path: Path, cloud: Cloud) -> None:
    """Data above the threshold is uploaded once, fetched by each node and deleted at the end."""
    bench = with_bucket(tmp_path, cloud)
    code, out, err = bench.start("--nodes", "2").end()
    assert code == 0, err
    assert err.count("uploading") == 1
    assert "over SSH" not in err
    assert cloud.calls["s3:GetObject"] >= 2, "one download per node"
    for name in ("aws-1", "aws-2"):
        assert "is sent over this connection" not in bench.log(name)
    assert "0 nodes left, verified" in out


def test_data_that_the_bucket_refuses_goes_over_ssh(tmp_path: Path, cloud: Cloud) -> None:
    """Without permission to put objects the data goes over SSH, and a message says so."""
    bench = with_bucket(tmp_path, cloud)
    cloud.faults.deny("s3:PutObject", "s3:CreateMultipartUpload")
    code, _, err = bench.start("--nodes", "1").end()
    assert code == 0, err
    assert "over SSH" in err
    assert "not allowed" in err or "not authorized" in err, err
