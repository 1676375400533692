"""Records of measurements, stored as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Message of a contender whose cluster is up and whose search begins."""

    at: float
    """Reading of the monotonic clock."""

    made_seconds: float
    """Time to make the data; excluded from all results."""

    startup_seconds: float
    """Time from the start of the process to the end of a first, small search, without the data."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Message of a contender whose search has ended."""

    seconds: float
    fit_seconds: float
    """Sum of its fit and score times."""

    driver_bytes: int
    """Growth of the driver's peak memory during the search."""

    scores: list[float]
    """Test scores, split after split, in the order of the candidates."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One process of one contender, seen from outside."""

    ended: Literal["done", "cut", "memory", "failed"]
    """cut: over the time limit; memory: over the memory limit; failed: ended without a result."""

    why: str = ""
    startup_seconds: float = 0.0
    seconds: float = 0.0
    """Time of the search, or until it was stopped."""

    fit_seconds: float = 0.0
    driver_bytes: int = 0
    peak_bytes: int = 0
    """Peak memory of the process and its descendants."""

    @property
    def cold_seconds(self) -> float:
        """Time from the start of the process to the result, without the data."""
        return self.startup_seconds + self.seconds


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one contender on one workload."""

    who: str
    runs: list[Run]
    differing: int = 0
    """Number of scores that differ from the reference's in any bit."""

    largest_difference: float = 0.0

    @property
    def stopped(self) -> Run | None:
        """First run that was stopped or failed; None if all are done."""
        return next((run for run in self.runs if run.ended != "done"), None)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of all contenders on one workload, in turn."""

    workload: str
    size: str
    fits: int
    reference: str
    """Contender with which the scores of the others are compared."""

    cells: list[Cell]
    cores: int
    cut_seconds: float
    machine: str
    versions: dict[str, str]
    measured: str
    """Day of the measurement, UTC."""

    others_busy: float
    """Share of the processors that other processes took during the race."""

    def cell(self, who: str) -> Cell | None:
        """Return a contender's runs, or None if it did not run."""
        return next((cell for cell in self.cells if cell.who == who), None)
