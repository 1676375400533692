"""The benchmarks run: no other test would notice that one is broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("program", ["plan_cost", "driver_cost"])
def test_a_benchmark_of_the_driver_runs_at_its_smallest(program: str) -> None:
    """Each program that measures the driver exits with 0 and prints one JSON line."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{program}", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 3
