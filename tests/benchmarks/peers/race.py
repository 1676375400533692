"""All contenders on one workload, in turn."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import msgspec
import psutil

from tests.benchmarks.peers import machine
from tests.benchmarks.peers.child import Limits, run_contender
from tests.benchmarks.peers.contender import CORES
from tests.benchmarks.peers.records import Cell, Row, Run

REFERENCES = (
    *("loky", "ray", "dask", "skygrid-no-sharing", "skygrid"),
    *("dask-ml", "dask-ml-threads"),
)
"""Order in which contenders are chosen as the reference for scores: the first with scores."""

GROWING = ("skygrid", "loky")
"""Contenders in growth workloads; the other joblib loops grow like loky."""

MEMORY_SHARE = 0.6
"""Share of the machine's memory above which a contender is stopped."""

DENSE = frozenset({"large"})
"""Workloads whose memory is sampled more often, which costs time."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a race."""

    runs: int
    size: str
    cut_seconds: float
    contenders: tuple[str, ...]


def race(workload: str, settings: Settings) -> Row:
    """Run every contender `runs` times on one workload, in turns of all contenders.

    A contender that was stopped is not run again.
    """
    limits = Limits(
        search_seconds=settings.cut_seconds,
        memory_bytes=int(psutil.virtual_memory().total * MEMORY_SHARE),
        sampling=0.2 if workload in DENSE else 0.02,
    )
    others = machine.Others()
    runs: dict[str, list[Run]] = {who: [] for who in _asked(workload, settings.contenders)}
    scores: dict[str, list[float]] = {}
    for _ in range(settings.runs):
        for who, seen in runs.items():
            if any(run.ended != "done" for run in seen):
                continue
            run, its_scores = run_contender(who, workload, settings.size, limits)
            _say(workload, who, run)
            seen.append(run)
            if its_scores:
                scores.setdefault(who, its_scores)
    reference = next((who for who in REFERENCES if who in scores), "")
    return Row(
        workload=workload,
        size=settings.size,
        fits=len(scores.get(reference, ())),
        reference=reference,
        cells=[
            _cell(who, seen, scores.get(who), scores.get(reference)) for who, seen in runs.items()
        ],
        cores=CORES,
        cut_seconds=settings.cut_seconds,
        machine=machine.description(),
        versions=machine.versions(),
        measured=time.strftime("%Y-%m-%d", time.gmtime()),
        others_busy=others.share(),
    )


def _asked(workload: str, contenders: Sequence[str]) -> list[str]:
    return [who for who in contenders if who in GROWING or not workload.startswith("growth-")]


def _cell(
    who: str, runs: list[Run], scores: list[float] | None, expected: list[float] | None
) -> Cell:
    differing, largest = differences(scores or [], expected or [])
    return Cell(who=who, runs=runs, differing=differing, largest_difference=largest)


def differences(scores: Sequence[float], expected: Sequence[float]) -> tuple[int, float]:
    """Return the number of unequal scores and their largest difference.

    Two missing scores are equal; a missing one differs from any other by infinity. If either list
    is empty nothing is compared.
    """
    if not scores or not expected:
        return 0, 0.0
    if len(scores) != len(expected):
        return max(len(scores), len(expected)), float("inf")
    unequal = [
        abs(ours - theirs) if abs(ours - theirs) >= 0 else float("inf")
        for ours, theirs in zip(scores, expected, strict=True)
        if ours != theirs and not (ours != ours and theirs != theirs)
    ]
    return len(unequal), max(unequal, default=0.0)


def _say(workload: str, who: str, run: Run) -> None:
    words = f"{run.seconds:.2f} s, start {run.startup_seconds:.2f} s, {run.peak_bytes >> 20} MB"
    sys.stderr.write(f"{workload}: {who}: {run.ended} {run.why} {words}\n")
