"""Overhead of skygrid on three nodes that are 50 ms away, as a table: ``make bench-ssh``.

The nodes are real sshd's on loopback addresses of this machine, with four slots each. A proxy
before each delays every byte by 25 ms each way. Fits sleep, so that two processors can stand for
twelve. Efficiency is the ideal time, fits x seconds / 12, divided by the time from the start of the
first fit (recorded by the fit) to the last outcome on disk (recorded by the driver's listener).
"""

from __future__ import annotations

import os
import statistics
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from skygrid.worker.machine import machine
from skygrid.worker.wire.blobs import Blob
from tests.benchmarks.ssh.race import NODES, Measured, Race, opened_race
from tests.benchmarks.ssh.searches import LARGE, sleepers

RUNS = int(os.environ.get("RUNS", "3"))
CHOSEN = os.environ.get("WORKLOADS", "200ms,10ms,data,start").split(",")
FIT_BYTES = 200
"""Bytes per fit that are not counted as data."""

console = Console(width=110)


class Report:
    """The table of measured values, goals and verdicts."""

    def __init__(self) -> None:
        self.table = Table("what", "measured", "goal", "met", "each run")

    def add(self, what: str, runs: list[float], goal: float, spelled: str, *, least: bool) -> None:
        """Add the median of some runs; `goal` is a lower bound if `least`, else an upper bound."""
        median = statistics.median(runs)
        met = median >= goal if least else median <= goal
        cells = [spelled.format(run) for run in runs]
        bound = ("at least " if least else "at most ") + spelled.format(goal)
        self.table.add_row(
            what, spelled.format(median), bound, "yes" if met else "no", " ".join(cells)
        )

    def note(self, what: str, text: str) -> None:
        """Add a number without a goal."""
        self.table.add_row(what, text)


def main() -> None:
    """Prepare the nodes, measure and print."""
    report = Report()
    # Imports do not sleep, so every node needs a processor, and so does the driver.
    enough = machine.vcpus() > NODES
    with tempfile.TemporaryDirectory() as folder, opened_race(Path(folder)) as race:
        prepared = _prepared(race)
        report.note("the first run, which prepares, to its first fit", _first_fit(prepared))
        seen: list[Measured] = []
        for name, measure in WORKLOADS.items():
            if name in CHOSEN:
                console.print(f"measuring {name}")
                seen += measure(race, report)
        # Runs that send data take longer to start and are left out.
        firsts = [run.first_fit_seconds for run in seen if sum(run.bytes_up) < 1 << 22]
        what = f"a later run to its first fit, {NODES} nodes"
        if enough and firsts:
            _judge_start(report, what, firsts)
        elif firsts:
            report.note(what, f"{statistics.median(firsts):.2f} s on {machine.vcpus()} processors")
    if not enough and "start" in CHOSEN:
        console.print("measuring start")
        with tempfile.TemporaryDirectory() as folder, opened_race(Path(folder), nodes=1) as race:
            _prepared(race)
            runs = [race.run(sleepers(48, 0.01), 0.01) for _ in range(RUNS)]
        what = "a later run to its first fit, one node"
        _judge_start(report, what, [run.first_fit_seconds for run in runs])
    console.print(report.table)


def _prepared(race: Race) -> Measured:
    console.print("preparing the nodes")
    return race.run(sleepers(48, 0.01), 0.01)


def _judge_start(report: Report, what: str, firsts: list[float]) -> None:
    report.add(what, firsts, 2.0, "{:.2f} s", least=False)


def _first_fit(run: Measured) -> str:
    return f"{run.first_fit_seconds:.2f} s"


def slow_fits(race: Race, report: Report) -> list[Measured]:
    """Measure 1,200 fits of 200 ms."""
    return _speed(race, report, 1200, 0.2, 0.97)


def quick_fits(race: Race, report: Report) -> list[Measured]:
    """Measure 12,000 fits of 10 ms."""
    return _speed(race, report, 12_000, 0.01, 0.90)


def _speed(race: Race, report: Report, fits: int, seconds: float, goal: float) -> list[Measured]:
    runs = [race.run(sleepers(fits, seconds), seconds) for _ in range(RUNS)]
    what = f"{fits} fits of {1000 * seconds:.0f} ms"
    report.add(what, [r.efficiency for r in runs], goal, "{:.3f} of ideal", least=True)
    report.add("  driver's CPU per fit", [r.driver_us for r in runs], 60, "{:.0f} us", least=False)
    report.note("    by its threads, in the last run", _threads(runs[-1]))
    for name, number in (
        ("  search phase", [f"{r.search_seconds:.2f} s" for r in runs]),
        ("  whole command", [f"{r.wall_seconds:.2f} s" for r in runs]),
        ("  this machine's processors busy", [f"{r.busy:.0%}" for r in runs]),
        ("  bytes per fit, up and down", [_bytes_per_fit(r) for r in runs]),
    ):
        report.note(name, ", ".join(number))
    return runs


def _threads(run: Measured) -> str:
    spent = sorted(run.threads_us.items(), key=lambda item: -item[1])
    return ", ".join(f"{kind} {us:.0f}" for kind, us in spent if us >= 1)


def _bytes_per_fit(run: Measured) -> str:
    return f"{sum(run.bytes_up) / run.fits:.0f}+{sum(run.bytes_down) / run.fits:.0f}"


def large_data(race: Race, report: Report) -> list[Measured]:
    """Measure 600 fits with 20 MB of data, and the same data again."""
    fits, seconds, source = 600, 0.01, LARGE.format(seed=os.getpid())
    plain, packed = _blob_sizes(source)
    report.note("20 MB of data: bytes, and compressed", f"{plain:,} and {packed:,}")
    runs = []
    for what in ("sent for it", "the same data in another run"):
        run = race.run(sleepers(fits, seconds, source), seconds)
        total = sum(run.bytes_up) + sum(run.bytes_down)
        ratio = (total - FIT_BYTES * run.fits) / (NODES * packed)
        report.add(
            f"  {what}, less {FIT_BYTES} a fit", [ratio], 1.05, "{:.3f} of compressed", least=False
        )
        report.note("    up", ", ".join(f"{sent:,}" for sent in run.bytes_up))
        report.note("    down", ", ".join(f"{sent:,}" for sent in run.bytes_down))
        runs.append(run)
    return runs


def _blob_sizes(source: str) -> tuple[int, int]:
    """Return the size of the data as a blob, plain and with zlib level 1 in pieces of 1 MiB."""
    import numpy as np

    names: dict[str, object] = {"np": np}
    exec(source, names)
    blob = Blob({"X": names["X"]})
    pieces = [bytes(data) for _, data in blob.chunks(1 << 20)]
    return sum(map(len, pieces)), sum(len(zlib.compress(piece, 1)) for piece in pieces)


WORKLOADS: dict[str, Callable[[Race, Report], list[Measured]]] = {
    "200ms": slow_fits,
    "10ms": quick_fits,
    "data": large_data,
}

if __name__ == "__main__":
    main()
