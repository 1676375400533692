"""Score against fit time, and the Pareto front."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skygrid.reports.analysis.cost import cost
from tests.candidate_tables import table_of


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25),
)
def test_the_front_has_exactly_the_points_that_no_other_beats(points: list[tuple[int, int]]):
    """Compared with the definition, equal points included."""
    seconds, scores = np.array(points, dtype=float).T
    table = table_of([{}] * len(points), scores[:, None], fit_seconds=seconds[:, None])

    result = cost(table)

    beaten = {
        row
        for row in range(len(points))
        if (
            (seconds <= seconds[row])
            & (scores >= scores[row])
            & ((seconds < seconds[row]) | (scores > scores[row]))
        ).any()
    }
    assert {point.row for point in result.points if point.on_front} == (
        set(range(len(points))) - beaten
    )
    assert [result.points[place].on_front for place in result.front] == [True] * len(result.front)
    times = [point.fit_seconds for point in result.points]
    assert times == sorted(times)


def test_derived_times_are_marked_and_failed_candidates_left_out():
    """A candidate is derived if any of its times is."""
    derived = np.array([[False, True], [False, False], [False, False]])
    table = table_of([{}] * 3, [[0.9, 0.9], [0.8, 0.8], [np.nan, 0.9]], derived=derived)

    assert [(point.row, point.derived) for point in cost(table).points] == [(0, True), (1, False)]


def test_halving_shows_the_iteration_of_the_best():
    """Fit times of earlier iterations are those of fewer samples."""
    table = table_of([{}] * 3, [[0.9], [0.8], [0.7]], rung=(0, 0, 1))

    assert [point.row for point in cost(table).points] == [2]


def test_a_search_without_times_or_scores_has_no_points():
    """Nothing is drawn instead of an error."""
    table = table_of([{}], [[np.nan]], fit_seconds=[[np.nan]])

    assert cost(table).points == ()
    assert cost(table).front == ()
