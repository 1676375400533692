"""Runs on AWS, or what boots like it: nodes come, work and go, and nothing of them stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.client import Cloud, cloud, cloud_server
from tests.cloud_runs import CloudBench

__all__ = ["cloud", "cloud_server"]


@pytest.fixture
def bench(tmp_path: Path, cloud: Cloud) -> CloudBench:
    """A search of 40 fits."""
    return CloudBench(tmp_path, cloud)


def test_three_nodes_answer_as_scikit_learn_and_leave_nothing(bench: CloudBench) -> None:
    """`skygrid run search.py --nodes 3` is scikit-learn's answer, and nothing is left of it."""
    bench.ended_well(bench.start("--nodes", "3"))
    assert "0 nodes left, verified" in bench.out
    assert set(bench.nodes()) == {"aws-1", "aws-2", "aws-3"}
    assert bench.cloud.calls["ec2:RunInstances"] == 3
    assert not (bench.run_folder() / "aws").exists(), "keys outlive their nodes"
