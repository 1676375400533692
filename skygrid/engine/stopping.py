"""When a run starts no more fits although there are some left."""

from __future__ import annotations

from collections.abc import Callable

StopCondition = Callable[[float], str | None]
"""Given the monotonic time now: why the run is to stop, or None. Must answer at once."""


def never(_now: float) -> str | None:
    """Run until all is done."""
    return None


def time_limit(end: float) -> StopCondition:
    """Stop at this monotonic time, which ``--max-hours`` has set."""

    def over(now: float) -> str | None:
        return "the time that --max-hours allows is over" if now >= end else None

    return over


def any_of(*conditions: StopCondition) -> StopCondition:
    """Stop for the first reason that one of these conditions has."""

    def first(now: float) -> str | None:
        return next(filter(None, (condition(now) for condition in conditions)), None)

    return first


def cost_limit(limit: float, dollars: Callable[[], float | None]) -> StopCondition:
    """Stop when this much, in USD, would be spent by the end, which ``--max-cost`` has set.

    Parameters
    ----------
    limit : float
        USD.
    dollars : callable
        What the run will have cost if it is ended now; None: not known, which stops nothing.
    """

    def spent(_now: float) -> str | None:
        cost = dollars()
        if cost is None or cost < limit:
            return None
        return f"the ${limit:,.2f} that --max-cost allows are spent"

    return spent
