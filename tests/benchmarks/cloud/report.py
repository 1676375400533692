"""Nodes of a cloud that boots on this machine: to the first fit, and the calls that it took.

The cloud (`tests.cloud`) starts a real machine for every instance, in namespaces of this computer:
so a boot, three interpreters and one import of scikit-learn for each node share its processors,
which they do not on EC2. What the processors alone make of that is measured and stands beside it,
and many nodes are measured twice: all at once, when processors are all that counts, and with boots
so far apart that a few processors can stand for those of thirty machines.
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

from tests.benchmarks.cloud.starts import MOMENTS, Size, Start, Starts
from tests.cloud.client import SHARED, Cloud
from tests.cloud.install import install_all
from tests.programs import ProgramMissingError

RUNS = {
    "3 nodes": Size(nodes=3, min_nodes=3),
    "30 nodes": Size(nodes=30, min_nodes=1),
    "30, boots 2 s apart": Size(nodes=30, min_nodes=1, step_seconds=2.0, fit_seconds=1.0),
}

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
    except ProgramMissingError as missing:
        console.print(f"cloud: not measured: {missing}")
        return
    with tempfile.TemporaryDirectory() as folder, Cloud() as cloud:
        starts = Starts(Path(folder), cloud)
        # This one makes the environment that the image has from then on.
        starts.run(Size(nodes=1, min_nodes=1))
        found = [[starts.run(size) for _ in range(runs)] for size in RUNS.values()]
    imports = import_seconds(runs)
    table = Table("cloud", *RUNS, "goal")
    for row in rows(found, imports):
        table.add_row(*row)
    console.print(table)


def rows(found: Sequence[Sequence[Start]], imports: float) -> list[tuple[str, ...]]:
    """The table; medians.

    Parameters
    ----------
    found : sequence of sequence of Start
        For each column runs of one size.
    imports : float
        Processor seconds that scikit-learn takes to be imported once.
    """
    cores = len(os.sched_getaffinity(0))

    def row(what: str, unit: str, of: str, goal: str = "") -> tuple[str, ...]:
        return what, *(_median(kind, of, unit) for kind in found), goal

    steps = [
        (f"  {STEPS[moment]}", *(_step(kind, moment) for kind in found), "")
        for moment in MOMENTS[1:]
    ]
    floors = [f"{kind[0].nodes * imports / cores:.2f} s" for kind in found]
    calls = [statistics.median(one.calls / one.nodes for one in kind) for kind in found]
    each = [[seconds for one in kind for seconds in one.each_seconds] for kind in found]
    return [
        row("from RunInstances to the first fit", "s", "first_fit_seconds", f"{GOAL_SECONDS:g} s"),
        *steps,
        row("  until the last node that came in time fits", "s", "last_node_seconds"),
        row("  nodes that came in time", "", "fitting"),
        (
            "of each node, from its own RunInstances to its first fit",
            *(f"{statistics.median(seconds):.2f} s" for seconds in each),
            f"{GOAL_SECONDS:g} s",
        ),
        ("  of the slowest", *(f"{max(seconds):.2f} s" for seconds in each), ""),
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
