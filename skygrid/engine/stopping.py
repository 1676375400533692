"""Conditions for stopping a run before all fits are done."""

from __future__ import annotations

from collections.abc import Callable

StopCondition = Callable[[float], str | None]
"""Maps the monotonic time to a reason to stop, or None. Must return at once."""

StartCondition = Callable[[int, int], str | None]
"""Maps the number of nodes to start, and of nodes that go on, to a reason to start none, or None.
Must return at once."""


def never(_now: float) -> str | None:
    """Run until all is done."""
    return None


def unbounded(_fresh: int, _others: int) -> str | None:
    """Start every node."""
    return None


def time_limit(end: float) -> StopCondition:
    """Stop at this monotonic time, set by ``--max-hours``."""

    def over(now: float) -> str | None:
        return "the limit of --max-hours is reached" if now >= end else None

    return over


def any_of(*conditions: StopCondition) -> StopCondition:
    """Stop as soon as one of these conditions gives a reason."""

    def first(now: float) -> str | None:
        return next(filter(None, (condition(now) for condition in conditions)), None)

    return first


def cost_limit(limit: float, dollars: Callable[[], float | None]) -> StopCondition:
    """Stop when the run's expected final cost reaches ``--max-cost``.

    Parameters
    ----------
    limit : float
        USD.
    dollars : callable
        Returns the cost of the run if it ended now; None if unknown, which stops nothing.
    """

    def spent(_now: float) -> str | None:
        cost = dollars()
        if cost is None or cost < limit:
            return None
        return f"the limit of --max-cost, ${limit:,.2f}, is reached"

    return spent
