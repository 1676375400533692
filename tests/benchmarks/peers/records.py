"""What is measured, as records that go through JSON."""

from __future__ import annotations

from typing import Literal

import msgspec


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A contender's cluster is up and its search begins."""

    at: float
    """Reading of the monotonic clock."""

    made_seconds: float
    """What making the data took; it counts for nothing."""

    startup_seconds: float
    """From the start of the process to the end of a first, small search, less making the data."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A contender's search has ended."""

    seconds: float
    fit_seconds: float
    """What its fits and scores say they took, together."""

    driver_bytes: int
    """How far the process that asked for the search grew beyond what it was before."""

    scores: list[float]
    """Test scores, split after split, in the order of the candidates."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One process of one contender, seen from outside."""

    ended: Literal["done", "cut", "memory", "failed"]
    """cut: took too long; memory: took too much of it; failed: ended without a result."""

    why: str = ""
    startup_seconds: float = 0.0
    seconds: float = 0.0
    """Of the search; of one that was stopped, until then."""

    fit_seconds: float = 0.0
    driver_bytes: int = 0
    peak_bytes: int = 0
    """Of the process and everything below it."""

    @property
    def cold_seconds(self) -> float:
        """From the start of the process to the result, less making the data."""
        return self.startup_seconds + self.seconds


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One contender's runs of one workload."""

    who: str
    runs: list[Run]
    differing: int = 0
    """Scores that are not the reference's, bit for bit."""

    largest_difference: float = 0.0

    @property
    def stopped(self) -> Run | None:
        """The run that did not end by itself, if one did not."""
        return next((run for run in self.runs if run.ended != "done"), None)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One workload: everybody's runs, in turn and in one go."""

    workload: str
    size: str
    fits: int
    reference: str
    """Whose scores the others' are compared with."""

    cells: list[Cell]
    cores: int
    cut_seconds: float
    machine: str
    versions: dict[str, str]
    measured: str
    """The day, UTC."""

    others_busy: float
    """Share of the processors that processes other than the contenders took meanwhile."""

    def cell(self, who: str) -> Cell | None:
        """A contender's runs, if it ran."""
        return next((cell for cell in self.cells if cell.who == who), None)
