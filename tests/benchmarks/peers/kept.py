"""Rows on disk: what an hour of measuring found is not lost to a mistake in the next hour."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tests.benchmarks.peers import machine
from tests.benchmarks.peers.records import Row
from tests.benchmarks.peers.workloads import WORKLOADS

FOLDER = Path(os.environ.get("ROWS") or Path(__file__).parents[3] / "build" / "bench-peers")


def keep(row: Row, folder: Path = FOLDER) -> None:
    """Write a row, in the place of an older one of the same workload and size."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{row.size}-{row.workload}.json"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(row)))
    partial.replace(folder / f"{row.size}-{row.workload}.json")


def rows(size: str, folder: Path = FOLDER) -> list[Row]:
    """The rows of one size, in the order of the workloads, as far as they were measured here.

    A row of other versions or of another machine cannot stand in one table with the rest and
    is left out.
    """
    found = []
    for workload in WORKLOADS:
        file = folder / f"{size}-{workload}.json"
        if file.exists():
            row = msgspec.json.decode(file.read_bytes(), type=Row)
            if row.versions == machine.versions() and row.machine == machine.description():
                found.append(row)
    return found
