"""Nodes of a cloud that boots on this machine: to the first fit, and the calls that it took.

The cloud (`tests.cloud`) starts a real machine for every instance, in namespaces of this computer:
so a boot, three interpreters and one import of scikit-learn for each node share its processors,
which they do not on EC2. What the processors alone make of that is measured and stands beside it.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.cloud.starts import BOOT_SECONDS, MOMENTS, Start, Starts
from tests.cloud.client import SHARED, Cloud
from tests.cloud.install import CloudMissingError, install_all

FEW, MANY = 3, 30

GOAL_SECONDS = 3.0
GOAL_CALLS = 3.0

STEPS = {
    "listening": "the machine's own boot, until its sshd listens",
    "entered": "until the driver is in, and the host key replaced",
    "greeted": "until the agent has imported scikit-learn and answers",
    "fitting": "until its first fit",
}


def cloud_starts(console: Console, runs: int) -> None:
    """Measure few and many nodes on a prepared image, and print the table."""
    if os.geteuid() != 0:
        console.print("cloud: not measured, for instances are made by root")
        return
    try:
        install_all()
    except CloudMissingError as missing:
        console.print(f"cloud: not measured: {missing}")
        return
    with tempfile.TemporaryDirectory() as folder, Cloud() as cloud:
        cloud.faults.set(boot_seconds=BOOT_SECONDS)
        starts = Starts(Path(folder), cloud)
        starts.run(1, 1)  # makes the environment that the image has from then on
        few = [starts.run(FEW, FEW) for _ in range(runs)]
        many = [starts.run(MANY, 1) for _ in range(runs)]
    imports = import_seconds(runs)
    table = Table("cloud", f"{FEW} nodes", f"{MANY} nodes", "goal")
    for row in rows(few, many, imports):
        table.add_row(*row)
    console.print(table)


def rows(few: Sequence[Start], many: Sequence[Start], imports: float) -> list[tuple[str, ...]]:
    """The table; medians.

    Parameters
    ----------
    few, many : sequence of Start
        Runs that waited for all their nodes, and runs that began with the first.
    imports : float
        Processor seconds that scikit-learn takes to be imported once.
    """
    cores = len(os.sched_getaffinity(0))

    def row(what: str, unit: str, of: str, goal: str = "") -> tuple[str, ...]:
        return what, *(_median(kind, of, unit) for kind in (few, many)), goal

    steps = [
        (f"  {STEPS[moment]}", *(_step(kind, moment) for kind in (few, many)), "")
        for moment in MOMENTS[1:]
    ]
    floors = [f"{nodes * imports / cores:.2f} s" for nodes in (FEW, MANY)]
    calls = [statistics.median(one.calls / one.nodes for one in kind) for kind in (few, many)]
    return [
        row("from RunInstances to the first fit", "s", "first_fit_seconds", f"{GOAL_SECONDS:g} s"),
        *steps,
        row("  until the last node that came in time fits", "s", "last_node_seconds"),
        row("  nodes that came in time", "", "fitting"),
        (f"imports of all nodes by themselves, on {cores} cores", *floors, ""),
        row("processors busy", "", "busy"),
        ("API calls for each node, in all", *(f"{one:.2f}" for one in calls), f"{GOAL_CALLS:g}"),
    ]


def _median(runs: Sequence[Start], name: str, unit: str) -> str:
    return f"{statistics.median(getattr(one, name) for one in runs):.3g} {unit}".rstrip()


def _step(runs: Sequence[Start], moment: str) -> str:
    return f"{statistics.median(one.steps[moment] for one in runs):.2f} s"


def import_seconds(runs: int) -> float:
    """Processor time that an agent's imports take in the nodes' own environment, once."""
    ready = max((SHARED / "envs").glob("*/ready"), key=lambda path: path.stat().st_mtime)
    python = ready.with_name("bin") / "python"
    taken = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([python, "-c", "import sklearn.model_selection"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(taken)
