"""Schedules are drawn alike everywhere, and cover every kind of fault."""

from __future__ import annotations

import pytest

from tests.chaos.faults import _ON_PROCESSES, _OTHERS, _SIGNALS
from tests.chaos.runner import Sample, repeated
from tests.chaos.schedules import MOST_FAULTS, Place, draw, possible_faults
from tests.chaos.searches import Start

PLACES: list[Place] = ["local", "ssh"]


@pytest.mark.parametrize("place", PLACES)
def test_a_seed_gives_one_schedule(place: Place) -> None:
    """The same seed gives the same faults, in the order of their moments."""
    for seed in range(50):
        schedule = draw(seed, place)
        assert schedule == draw(seed, place)
        assert 1 <= len(schedule.faults) <= MOST_FAULTS
        assert list(schedule.faults) == sorted(schedule.faults, key=lambda one: one.after)
    assert draw(1, place) != draw(2, place)


@pytest.mark.parametrize(("place", "seeds"), [("local", 200), ("ssh", 60)])
def test_a_night_has_most_kinds_of_faults(place: Place, seeds: int) -> None:
    """The schedules of `make test-chaos` contain nine of ten possible faults."""
    possible = {(kind, target) for group in possible_faults(place) for kind, target, _ in group}
    drawn = {
        (fault.kind, fault.target)
        for seed in range(1, seeds + 1)
        for fault in draw(seed, place).faults
    }
    assert drawn <= possible
    assert len(drawn) >= 0.9 * len(possible)


@pytest.mark.parametrize("place", PLACES)
def test_every_fault_can_be_inflicted(place: Place) -> None:
    """Each possible fault has a function."""
    for group in possible_faults(place):
        for kind, target, _ in group:
            if target == "driver":
                assert kind in _SIGNALS or kind == "interrupt twice"
            else:
                assert kind in _ON_PROCESSES or (kind, target) in _OTHERS


def test_a_recorded_fit_that_runs_again_is_found() -> None:
    """Only starts after the fit was recorded count; the refit is no fit of a task."""
    samples = [Sample(10.0, frozenset({(0, 0)}))]
    tasks = {"a": (0, 0), "b": (0, 1)}
    starts = [Start("a", 9.0), Start("b", 11.0), Start("refit", 12.0)]
    assert repeated(samples, starts, tasks) == []
    assert repeated(samples, [Start("a", 10.5)], tasks) == [
        "fit (0, 0) ran again 0.50 s after it was recorded"
    ]
