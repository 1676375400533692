"""Runs survive random faults: `make test-chaos` plays schedules that are drawn from seeds."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.runner import play
from tests.chaos.schedules import Schedule, draw

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def chosen() -> list[Schedule]:
    """Return the schedules that the environment asks for."""
    seed = int(os.environ.get("SKYGRID_TEST_CHAOS_SEED", "1"))
    n_local = int(os.environ.get("SKYGRID_TEST_CHAOS_LOCAL", "9"))
    n_ssh = int(os.environ.get("SKYGRID_TEST_CHAOS_SSH", "3"))
    ssh = [draw(seed + number, "ssh") for number in range(n_ssh)]  # the longest first
    return [*ssh, *(draw(seed + number, "local") for number in range(n_local))]


@pytest.mark.parametrize("schedule", chosen(), ids=lambda one: f"{one.place}-{one.seed}")
def test_a_run_survives_a_schedule_of_faults(
    schedule: Schedule, tmp_path: Path, record_property: Any
) -> None:
    """After any faults the run is resumed to scikit-learn's answer, and nothing is left behind."""
    record_property("chaos", dataclasses.asdict(play(schedule, tmp_path)))
