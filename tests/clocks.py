"""A clock whose time passes only when a test advances it."""

from __future__ import annotations


class ManualClock:
    """Clock in seconds that only `advance` changes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Add seconds to the time."""
        self.now += seconds
