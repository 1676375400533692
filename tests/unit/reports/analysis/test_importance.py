"""Importance: exact on complete grids, by a random forest elsewhere."""

from __future__ import annotations

import math
import time
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.svm import SVC

from skygrid.reports.analysis.exact_anova import decompose
from skygrid.reports.analysis.importance import importances
from skygrid.reports.analysis.records import Importance
from tests.candidate_tables import grid_table, table_of

GRID = {"a": [1, 2, 3], "b": [1, 2, 3, 4], "c": [None, "x"]}


def main_of(result: Importance) -> dict[str, float]:
    return {effect.name: effect.fraction for effect in result.main}


def pairs_of(result: Importance) -> dict[frozenset[str], float]:
    return {frozenset((effect.first, effect.second)): effect.fraction for effect in result.pairs}


def test_an_additive_function_has_only_main_effects():
    """The variance of a sum of independent parts is the sum of their variances."""
    (result,) = importances(grid_table(GRID, lambda p: 3.0 * p["a"] + p["b"]))

    a, b = 9 * np.var([1, 2, 3]), np.var([1, 2, 3, 4])
    assert result.method == "exact"
    assert result.note == "Exact functional ANOVA of the complete grid of 24 candidates."
    assert main_of(result) == pytest.approx({"a": a / (a + b), "b": b / (a + b), "c": 0})
    assert list(main_of(result)) == ["a", "b", "c"]
    assert max(pairs_of(result).values()) == 0


def test_an_interaction_belongs_to_its_pair():
    """The product of two centred parameters has no main effect."""
    (result,) = importances(grid_table(GRID, lambda p: (p["a"] - 2.0) * (p["b"] - 2.5)))

    assert main_of(result) == pytest.approx({"a": 0, "b": 0, "c": 0}, abs=1e-9)
    assert pairs_of(result)[frozenset("ab")] == pytest.approx(1)
    assert (result.pairs[0].first, result.pairs[0].second) == ("a", "b")


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(2, 4), min_size=1, max_size=4).map(tuple)


@given(
    shapes().flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-1, 1, width=32)))
)
def test_exact_fractions_are_those_of_explicit_group_means(values: np.ndarray):
    """Each fraction equals the definition, computed cell by cell; all are at most 1 together."""
    main, pairs = decompose(values)

    assert all(0 <= fraction <= 1 for fraction in [*main, *pairs.values()])
    assert sum(main) + sum(pairs.values()) <= 1 + 1e-9
    total = values.var()
    if total < 1e-9:
        return
    cells = list(np.ndindex(values.shape))

    def explained(*axes: int) -> float:
        groups: dict[tuple[int, ...], list[float]] = {}
        for cell in cells:
            groups.setdefault(tuple(cell[axis] for axis in axes), []).append(values[cell])
        return float(np.var([np.mean(group) for group in groups.values()]))

    for axis in range(values.ndim):
        assert main[axis] == pytest.approx(explained(axis) / total, abs=1e-6)
    for one, other in combinations(range(values.ndim), 2):
        expected = (explained(one, other) - explained(one) - explained(other)) / total
        assert pairs[one, other] == pytest.approx(expected, abs=1e-6)


@settings(max_examples=10)
@given(order=st.permutations(range(24)), dropped=st.integers(0, 3))
def test_importance_does_not_depend_on_the_order_of_candidates(order: list[int], dropped: int):
    """Neither of a complete grid nor of an incomplete one."""
    table = grid_table(GRID, lambda p: p["a"] * p["b"] + (p["c"] is None), noise=0.2)
    missing = np.random.RandomState(0).choice(24, dropped, replace=False)
    scores = table.scores.copy()
    scores[missing] = np.nan
    mixed = [table.params[row] for row in order]

    (one,) = importances(table_of(table.params, scores))
    (other,) = importances(table_of(mixed, scores[list(order)]))

    assert one.method == other.method == ("forest" if dropped else "exact")
    assert one.without_score == other.without_score == dropped
    assert main_of(one) == pytest.approx(main_of(other))
    assert pairs_of(one) == pytest.approx(pairs_of(other))


def random_params(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.RandomState(seed)
    return [
        {
            "C": float(10 ** random.uniform(-3, 3)),
            "kernel": str(random.choice(["linear", "poly", "rbf"])),
            "depth": None if random.rand() < 0.3 else int(random.randint(1, 10)),
            "noise": float(random.rand()),
        }
        for _ in range(count)
    ]


def test_a_random_search_uses_the_forest_and_ranks_the_parameters():
    """Parameters of mixed kinds; the known order comes out, and the note names the method."""

    def mean(p: dict[str, Any]) -> float:
        return 0.5 * math.log10(p["C"]) + {"linear": 0, "poly": 2, "rbf": 1}[p["kernel"]]

    (result,) = importances(grid_table(random_params(300), mean))

    main = main_of(result)
    # Variances: 0.25 * 36 / 12 = 0.75 for C, 2 / 3 for the kernel.
    assert main["C"] == pytest.approx(0.53, abs=0.05)
    assert main["kernel"] == pytest.approx(0.47, abs=0.05)
    assert main["depth"] + main["noise"] < 0.02
    assert result.method == "forest"
    assert result.explained > 0.9
    assert result.note == (
        "Functional ANOVA of a random forest (Hutter, Hoos and Leyton-Brown 2014), fitted to 300"
        " candidates."
    )


def test_the_forest_agrees_with_the_exact_result():
    """A grid with one candidate less than complete has nearly the exact fractions."""
    grid = {"a": list(range(8)), "b": list(range(8)), "c": list(range(4))}
    table = grid_table(grid, lambda p: p["a"] + 0.5 * p["b"] + 0.3 * p["a"] * p["c"])

    (exact,) = importances(table)
    (forest,) = importances(table_of(table.params[1:], table.scores[1:]))

    assert (exact.method, forest.method) == ("exact", "forest")
    assert main_of(forest) == pytest.approx(main_of(exact), abs=0.05)
    assert pairs_of(forest) == pytest.approx(pairs_of(exact), abs=0.05)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(10, 60))
def test_fractions_of_the_forest_are_fractions(seed: int, count: int):
    """Each is between 0 and 1, and so is their sum, also for scores that are noise."""
    random = np.random.RandomState(seed)
    table = table_of(random_params(count, seed), random.normal(size=(count, 3)))

    (result,) = importances(table)

    fractions = [effect.fraction for effect in (*result.main, *result.pairs)]
    assert all(0 <= fraction <= 1 + 1e-9 for fraction in fractions)
    assert sum(fractions) <= 1 + 1e-9


def test_a_forest_that_explains_little_is_called_unsure():
    """Noise gives no confident ranking."""
    scores = np.random.RandomState(1).normal(size=(60, 3))

    (result,) = importances(table_of(random_params(60), scores))

    assert "so the result is unsure" in result.note


def test_large_random_searches_are_sampled_and_bounded():
    """The note says how many candidates were drawn; two calls give the same numbers."""
    params = [
        {f"p{index}": float(x) for index, x in enumerate(row)}
        for row in np.random.RandomState(0).rand(5000, 12)
    ]
    table = grid_table(params, lambda p: p["p0"] + p["p1"] ** 2)
    started = time.process_time()

    (result,) = importances(table)

    assert time.process_time() - started < 10
    assert (result.candidates, result.sampled_from) == (2000, 5000)
    assert "fitted to 2000 candidates, drawn from 5000" in result.note
    assert importances(table) == (result,)


def test_families_have_results_of_their_own():
    """A parameter of one grid has no importance in another."""
    params = [{"k": "linear", "C": c} for c in (1, 2, 3)] + [
        {"k": "rbf", "C": c, "g": g} for c in (1, 2) for g in (1, 2)
    ]
    table = grid_table(params, lambda p: p["C"] + p.get("g", 0), family=(0,) * 3 + (1,) * 4)

    linear, rbf = importances(table)

    assert main_of(linear) == {"C": pytest.approx(1)}
    assert main_of(rbf) == {"C": pytest.approx(0.5), "g": pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("params", "scores", "note"),
    [
        (
            [{"C": 1}, {"C": 2}],
            [[0.5], [np.nan]],
            "There are fewer than two candidates with a score.",
        ),
        ([{"C": 1}, {"C": 2}], [[0.5], [0.5]], "The mean score does not vary."),
        ([{"C": 1}, {"C": 1}], [[0.5], [0.6]], "No parameter varies."),
        (
            [{"C": 1, "g": 1}, {"C": 2, "g": 2}, {"C": 3, "g": 1}],
            [[0.5], [0.6], [0.7]],
            (
                "3 candidates with a score are too few to estimate the importance of parameters"
                " outside a complete grid."
            ),
        ),
    ],
)
def test_a_missing_result_has_a_reason(params: Any, scores: Any, note: str):
    """The note says why there are no fractions."""
    (result,) = importances(table_of(params, scores))

    assert (result.method, result.note, result.main) == (None, note, ())


def test_estimators_and_functions_are_values_like_others():
    """Objects are compared by their contents, not by their text."""
    grid = {"base": [SVC(C=1), SVC(C=2)], "function": [len, sum], "n": [1, 2]}

    (result,) = importances(grid_table(grid, lambda p: p["base"].C + (p["function"] is len)))

    assert main_of(result) == {"base": pytest.approx(0.5), "function": pytest.approx(0.5), "n": 0}


def test_halving_uses_the_first_iteration():
    """Only there all candidates were compared."""
    params = [{"C": 1}, {"C": 2}, {"C": 3}, {"C": 3}]
    (result,) = importances(table_of(params, [[0.1], [0.2], [0.3], [0.9]], rung=(0, 0, 0, 1)))

    assert result.note == (
        "Exact functional ANOVA of the complete grid of 3 candidates, in the first iteration."
    )
