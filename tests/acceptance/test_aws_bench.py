"""Test of the benchmark of node starts, which no other code runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.cloud.report import rows
from tests.benchmarks.cloud.starts import MOMENTS, Size, Starts
from tests.cloud.client import Cloud, cloud, cloud_server

__all__ = ["cloud", "cloud_server"]

pytestmark = pytest.mark.cloud


def test_every_step_of_a_nodes_start_is_measured(tmp_path: Path, cloud: Cloud) -> None:
    """Every step of a node's start is measured, and the steps add up to the whole."""
    start = Starts(tmp_path, cloud).run(Size(nodes=1, min_nodes=1))
    assert tuple(start.steps) == MOMENTS[1:]
    assert sum(start.steps.values()) == pytest.approx(start.first_fit_seconds, abs=0.01)
    assert start.calls >= 10, "the plan alone makes that many calls"
    assert start.each_seconds == pytest.approx([start.first_fit_seconds], abs=0.01)
    table = rows([[start], [start]], imports=1.0)
    assert all(len(row) == 4 for row in table)
