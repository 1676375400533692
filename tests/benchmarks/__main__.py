"""Benchmark of skygrid and scikit-learn with loky, in turn: ``make bench``.

``make bench WORKLOADS=tiny,driver RUNS=5`` measures some parts only: workloads of the race by name,
and ``plan``, ``driver``, ``start`` and ``cloud``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.workloads import GUIDE, WORKLOADS

RUNS = int(os.environ.get("RUNS") or "3")
CORES = len(os.sched_getaffinity(0))
WATCHED = frozenset({"large"})
"""Workloads whose memory is sampled; sampling costs a little time."""

console = Console(width=100)


def main() -> None:
    """Race the contenders, then measure planning, driver and start."""
    parts = {
        "plan": plan_cost,
        "driver": driver_cost,
        "start": start_up,
        "cloud": cloud_start_up,
    }
    known = (*WORKLOADS, *parts)
    chosen = [name for name in os.environ.get("WORKLOADS", "").split(",") if name] or known
    if unknown := [name for name in chosen if name not in known]:
        sys.exit(f"WORKLOADS: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    console.print(f"{RUNS} runs of each in turn, medians, {CORES} cores, scikit-learn with loky")
    if raced := [name for name in chosen if name in WORKLOADS]:
        race(raced)
    for name, measure in parts.items():
        if name in chosen:
            measure()


def race(chosen: Sequence[str]) -> None:
    """Race both contenders on some workloads and print the table."""
    table = Table("workload", "skygrid s", "loky s", "ratio", "over floor", "loky over floor")
    for column in ("skygrid MB", "loky MB", "memory ratio"):
        table.add_column(column)
    for name in chosen:
        ours, theirs = _in_turn(name)
        assert ours[0]["best_score"] == theirs[0]["best_score"], "the answers differ"
        table.add_row(name, *_row(ours, theirs))
    console.print(table)


def _in_turn(name: str) -> tuple[list[Any], list[Any]]:
    results: dict[str, list[Any]] = {"skygrid": [], "loky": []}
    for _ in range(RUNS):
        for who, seen in results.items():
            command = ["tests.benchmarks.contender", who, name]
            seen.append(_measure([*command, "--memory"] if name in WATCHED else command))
    return results["skygrid"], results["loky"]


def _row(ours: list[Any], theirs: list[Any]) -> list[str]:
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(ours, theirs, strict=True)]
    cells = [
        f"{_median(ours, 'seconds'):.2f}",
        f"{_median(theirs, 'seconds'):.2f}",
        f"{statistics.median(ratios):.2f}",
        f"{_over_floor(ours):.3f}",
        f"{_over_floor(theirs):.3f}",
    ]
    if not ours[0]["peak_bytes"]:
        return cells
    memory = [a["peak_bytes"] / b["peak_bytes"] for a, b in zip(ours, theirs, strict=True)]
    return [
        *cells,
        f"{_median(ours, 'peak_bytes') / 2**20:.0f}",
        f"{_median(theirs, 'peak_bytes') / 2**20:.0f}",
        f"{statistics.median(memory):.2f}",
    ]


def _over_floor(runs: list[Any]) -> float:
    """Return the time over the floor: the sum of fit and score times, divided by the cores."""
    return statistics.median(run["seconds"] * CORES / run["fit_seconds"] for run in runs)


def plan_cost() -> None:
    """Measure planning, before any fit."""
    table = Table("tasks", "seconds", "peak MB above the data", title="plan")
    for candidates in (2_000, 20_000):
        runs = [_measure(["tests.benchmarks.plan_cost", str(candidates)]) for _ in range(RUNS)]
        peak = _median(runs, "peak_bytes") / 2**20
        table.add_row(f"{candidates * 5}", f"{_median(runs, 'seconds'):.3f}", f"{peak:.1f}")
    console.print(table)


def driver_cost() -> None:
    """Measure the driver's processor time per fit, with fits that cost nothing."""
    table = Table("fits", "driver's CPU us per fit", "wall us per fit", title="driver")
    for candidates in (200, 2_000, 20_000):
        runs = [_measure(["tests.benchmarks.driver_cost", str(candidates)]) for _ in range(RUNS)]
        cells = (f"{_median(runs, key):.1f}" for key in ("cpu_us", "wall_us"))
        table.add_row(f"{candidates * 5}", *cells)
    console.print(table)


def start_up() -> None:
    """Measure the time from the command to the first recorded fit, and that of the same imports."""
    table = Table("first fit s", "imports alone s", "difference s", title="start")
    ours, imports = [], []
    for _ in range(RUNS):
        ours.append(_first_fit_seconds())
        begin = time.time()
        subprocess.run([sys.executable, "-c", "import sklearn.ensemble, sklearn.svm"], check=True)
        imports.append(time.time() - begin)
    difference = statistics.median(a - b for a, b in zip(ours, imports, strict=True))
    cells = (statistics.median(ours), statistics.median(imports), difference)
    table.add_row(*(f"{cell:.2f}" for cell in cells))
    console.print(table)


def cloud_start_up() -> None:
    """Measure the time from RunInstances to the first fit, on the test cloud."""
    # It needs moto and pytest, which the other parts do not.
    from tests.benchmarks.cloud.report import cloud_starts

    cloud_starts(console, RUNS)


def _first_fit_seconds() -> float:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.time()
        command = [sys.executable, "-m", "skygrid", "run", str(GUIDE), "--quiet"]
        subprocess.run(
            [*command, "--runs-dir", folder, "--name", "first"], check=True, capture_output=True
        )
        from skygrid.journal.sqlite import SqliteJournal

        journal = SqliteJournal(Path(folder) / "first" / "journal.sqlite", read_only=True)
        first = min(outcome.finished_at for outcome in journal.outcomes(0))
        journal.close()
        return first - begin


def _measure(command: list[str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", *command], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _median(runs: list[Any], key: str) -> float:
    return statistics.median(run[key] for run in runs)


if __name__ == "__main__":
    main()
