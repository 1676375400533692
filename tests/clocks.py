"""A clock that tests pass in: time passes when they say so."""

from __future__ import annotations


class ManualClock:
    """Returns seconds that only `advance` changes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
