"""Conditions under which a run starts no more fits."""

from __future__ import annotations

from skygrid.engine.stopping import any_of, never, time_limit


def test_a_time_limit_holds_from_its_moment_on() -> None:
    """The reason is there when the time has come, not before, and names the option."""
    over = time_limit(10.0)
    assert over(9.99) is None
    assert "--max-hours" in (over(10.0) or "")


def test_the_first_reason_of_several_counts() -> None:
    """Of several conditions the first one that holds says why."""
    both = any_of(never, time_limit(20.0), lambda now: "too dear" if now >= 15.0 else None)
    assert both(14.0) is None
    assert both(15.0) == "too dear"
    assert "--max-hours" in (both(20.0) or "")
