"""Rows on disk, so that measured rows survive a later failure."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tests.benchmarks.peers import machine
from tests.benchmarks.peers.records import Row
from tests.benchmarks.peers.workloads import WORKLOADS

FOLDER = Path(os.environ.get("ROWS") or Path(__file__).parents[3] / "build" / "bench-peers")


def keep(row: Row, folder: Path = FOLDER) -> None:
    """Write a row; replaces an older one of the same workload and size."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{row.size}-{row.workload}.json"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(row)))
    partial.replace(folder / f"{row.size}-{row.workload}.json")


def rows(size: str, folder: Path = FOLDER) -> list[Row]:
    """Return the measured rows of one size, in the order of the workloads.

    Rows of other versions or another machine are left out, as one table cannot mix them.
    """
    found = []
    for workload in WORKLOADS:
        file = folder / f"{size}-{workload}.json"
        if file.exists():
            row = msgspec.json.decode(file.read_bytes(), type=Row)
            if row.versions == machine.versions() and row.machine == machine.description():
                found.append(row)
    return found
