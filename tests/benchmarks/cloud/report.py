"""Table of node starts on the test cloud: time to the first fit, and API calls.

The cloud (`tests.cloud`) starts a real machine per instance, in namespaces of this computer. A
boot, three interpreters and one import of scikit-learn per node share its processors, unlike on
EC2. The processor time of the imports is therefore measured and shown too. Many nodes are measured
twice: booting at once, which this machine's processors limit, and with boots so far apart that a
few processors can stand for those of thirty machines.
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
    "listening": "boot, until sshd listens",
    "entered": "until the driver has logged in and replaced the host key",
    "greeted": "until the agent has imported scikit-learn and answered",
    "fitting": "until its first fit",
}


def cloud_starts(console: Console, runs: int) -> None:
    """Measure few and many nodes on a prepared image, and print the table."""
    if os.geteuid() != 0:
        console.print("cloud: not measured: instances need root")
        return
    try:
        install_all()
    except ProgramMissingError as missing:
        console.print(f"cloud: not measured: {missing}")
        return
    with tempfile.TemporaryDirectory() as folder, Cloud() as cloud:
        starts = Starts(Path(folder), cloud)
        # This run makes the environment that the image has from then on.
        starts.run(Size(nodes=1, min_nodes=1))
        found = [[starts.run(size) for _ in range(runs)] for size in RUNS.values()]
    imports = import_seconds(runs)
    table = Table("cloud", *RUNS, "goal")
    for row in rows(found, imports):
        table.add_row(*row)
    console.print(table)


def rows(found: Sequence[Sequence[Start]], imports: float) -> list[tuple[str, ...]]:
    """Return the rows of the table, as medians.

    Parameters
    ----------
    found : sequence of sequence of Start
        For each column, runs of one size.
    imports : float
        Processor seconds of one import of scikit-learn.
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
        row("  until the first fit of the last node in time", "s", "last_node_seconds"),
        row("  nodes in time for a fit", "", "fitting"),
        (
            "each node, from its RunInstances to its first fit",
            *(f"{statistics.median(seconds):.2f} s" for seconds in each),
            f"{GOAL_SECONDS:g} s",
        ),
        ("  slowest node", *(f"{max(seconds):.2f} s" for seconds in each), ""),
        (f"imports of all nodes alone, on {cores} cores", *floors, ""),
        row("processors busy", "", "busy"),
        ("API calls per node", *(f"{one:.2f}" for one in calls), f"{GOAL_CALLS:g}"),
    ]


def _median(runs: Sequence[Start], name: str, unit: str) -> str:
    return f"{statistics.median(getattr(one, name) for one in runs):.3g} {unit}".rstrip()


def _step(runs: Sequence[Start], moment: str) -> str:
    return f"{statistics.median(one.steps[moment] for one in runs):.2f} s"


def import_seconds(runs: int) -> float:
    """Return the processor time of an agent's imports in the nodes' own environment."""
    ready = max((SHARED / "envs").glob("*/ready"), key=lambda path: path.stat().st_mtime)
    python = ready.with_name("bin") / "python"
    taken = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([python, "-c", "import sklearn.model_selection"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(taken)
