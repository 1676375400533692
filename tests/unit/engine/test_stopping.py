"""Conditions under which a run starts no more fits."""

from __future__ import annotations

from skygrid.engine.stopping import any_of, never, time_limit


def test_a_time_limit_starts_at_its_moment() -> None:
    """From its moment on, a time limit returns a reason that names the option."""
    over = time_limit(10.0)
    assert over(9.99) is None
    assert "--max-hours" in (over(10.0) or "")


def test_the_first_reason_of_several_counts() -> None:
    """The first condition that holds gives the reason."""
    both = any_of(never, time_limit(20.0), lambda now: "too dear" if now >= 15.0 else None)
    assert both(14.0) is None
    assert both(15.0) == "too dear"
    assert "--max-hours" in (both(20.0) or "")
