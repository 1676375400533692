"""Runs on the test cloud, and the end of each step of their start."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.ssh.searches import SCORE, sleepers
from tests.cloud.client import Cloud, Node
from tests.cloud_runs import CloudBench

ROOT = Path(__file__).parents[3]

BOOT_SECONDS = 3.0
"""Boot time that the cloud is set to, in seconds; it is subtracted from all results."""

SLOTS = 4
RUN_SECONDS = 600.0
"""Time after which a run and the benchmark are stopped, in seconds."""

GREETED = ("receiving", "loading", "working")
"""First states of a node whose agent has answered."""

MOMENTS = ("accepted", "listening", "entered", "greeted", "fitting")


@dataclass(frozen=True, kw_only=True)
class Size:
    """Size of a measured run."""

    nodes: int
    min_nodes: int
    """Number of nodes with which the search begins."""

    step_seconds: float = 0.0
    """Additional boot time of each node over the one before."""

    fit_seconds: float = 0.2

    @property
    def fits(self) -> int:
        """Number of fits that leaves work for the last node, and ten percent more."""
        apart = self.step_seconds * (self.nodes - 1)
        meanwhile = apart / 2 * self.nodes * SLOTS / self.fit_seconds
        return math.ceil(1.1 * meanwhile) + 2 * SLOTS * self.nodes


@dataclass(frozen=True, kw_only=True)
class Start:
    """Start of one run.

    All seconds exclude the boot time that the cloud was set to. Except for `each_seconds`, they
    count from the answer to the run's first RunInstances.
    """

    nodes: int
    first_fit_seconds: float
    fitting: int
    """Number of nodes that had a fit before all fits were done."""

    last_node_seconds: float
    """Time of the first fit of the last of those nodes."""

    each_seconds: tuple[float, ...]
    """For each of those nodes, seconds from the answer to its RunInstances to its first fit."""

    steps: dict[str, float]
    """Seconds of each step of the node that fitted first, by the moment that ended the step;
    the boot time that was set is left out.
    """

    calls: int
    """Number of calls to all APIs, from the plan to the proof that nothing is left."""

    busy: float
    """Share of this machine's processors that was in use."""


class Starts:
    """Runs one search after another on the same cloud.

    Parameters
    ----------
    folder : Path
    cloud : Cloud
    """

    def __init__(self, folder: Path, cloud: Cloud) -> None:
        self._folder, self._cloud = folder, cloud
        self._bench = CloudBench(folder, cloud, launch_timeout=300.0, lost_after=120.0)
        self._bench.concurrency = SLOTS
        self._serial = 0

    def run(self, size: Size) -> Start:
        """Run a search whose fits sleep on nodes of this size, and end the nodes."""
        starts = self._prepare(size)
        before = self._cloud.calls.total()
        psutil.cpu_percent()
        began = time.time()
        said = self._drive()
        busy = psutil.cpu_percent() / 100
        self._cloud.check_nothing_left()
        assert all(abs(score - SCORE) < 1e-9 for score in said["scores"]), said["scores"]
        ours = [one for one in self._cloud.nodes() if one.launched_at >= began]
        moments = [self._moments(one, said, starts) for one in ours]
        accepted = min(found["accepted"] for found in moments)
        came = sorted(
            (found for found in moments if "fitting" in found), key=lambda found: found["fitting"]
        )
        return Start(
            nodes=len(ours),
            first_fit_seconds=came[0]["fitting"] - accepted,
            fitting=len(came),
            last_node_seconds=came[-1]["fitting"] - accepted,
            each_seconds=tuple(found["fitting"] - found["accepted"] for found in came),
            steps={after: came[0][after] - came[0][before] for before, after in pairwise(MOMENTS)},
            calls=self._cloud.calls.total() - before,
            busy=busy,
        )

    def _prepare(self, size: Size) -> Path:
        self._serial += 1
        self._cloud.faults.set(boot_seconds=BOOT_SECONDS, boot_step_seconds=size.step_seconds)
        starts = self._folder / "starts"
        shutil.rmtree(starts, ignore_errors=True)
        starts.mkdir()
        starts.chmod(0o777)  # the nodes' users differ from this one
        search = sleepers(size.fits, size.fit_seconds)
        (self._folder / "search.py").write_text(search)
        self._bench.extra = f"nodes = {size.nodes}\nmin_nodes = {size.min_nodes}"
        self._bench.write_config()
        return starts

    def _drive(self) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.cloud.driver", f"r{self._serial}"],
            cwd=self._folder,
            env={**self._cloud.environment(), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"a run failed:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def _moments(self, node: Node, said: Any, starts: Path) -> dict[str, float]:
        """Return the end of each step of a node's start, in seconds since the epoch.

        All but the first are reduced by the boot time that the cloud was set to.
        """
        name, host = node.tags["skygrid:node"], f"ip-{node.private.replace('.', '-')}"
        states = [(state, at) for who, state, at in said["states"] if who == name]
        found = {
            "accepted": node.launched_at,
            "listening": node.listens_at,
            "entered": _first(at for state, at in states if state == "connecting"),
            "greeted": _first(at for state, at in states if state in GREETED),
            "fitting": _first(float(path.read_text()) for path in starts.glob(f"{host}-*")),
        }
        told = {"accepted": 0.0}
        return {
            moment: at - told.get(moment, node.boot_seconds)
            for moment, at in found.items()
            if at is not None
        }


def _first(moments: Iterable[float]) -> float | None:
    return min(moments, default=None)
