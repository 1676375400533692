"""Hints for the next search: each kind speaks when its numbers are clear, and only then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skygrid.reports.analysis.advice import advise
from skygrid.reports.analysis.records import Advice, CandidateTable
from tests.candidate_tables import grid_table, table_of

DISTRIBUTIONS = {name: getattr(stats, name) for name in ("loguniform", "uniform", "randint")}


def pasted(hint: Advice) -> dict[str, Any]:
    """Return the values of a hint's line, as a search file would have them."""
    assert hint.line is not None
    space: dict[str, Any] = {}
    if hint.imports is not None:
        exec(hint.imports, space)
    return eval("{" + hint.line + "}", space)


def only(table: CandidateTable, kind: str) -> Advice:
    """Return the single hint of the table, which is of this kind."""
    (hint,) = advise(table)
    assert hint.kind == kind
    return hint


def rising(p: Mapping[str, Any]) -> float:
    return 0.8 + 0.02 * math.log10(p["svc__C"])


# ---- The best value at the edge -----------------------------------------------------------------


def test_a_best_value_at_the_upper_edge_extends_the_range():
    """The line has the edge and two steps beyond it; the text has the numbers."""
    table = grid_table({"svc__C": [0.1, 1, 10], "k": ["a", "b", "c"]}, rising, noise=0.001)

    hint = only(table, "edge")

    assert hint.parameter == "svc__C"
    assert hint.line == '"svc__C": [10.0, 100.0, 1000.0],'
    assert pasted(hint) == {"svc__C": [10, 100, 1000]}
    assert hint.text.startswith(
        "svc__C=10 is the largest of the 3 values tried and scores best: 0.8"
    )
    assert hint.text.endswith("Extend the range.")


def test_a_best_value_at_the_lower_edge_extends_the_range_downwards():
    """Log-spaced values continue on their axis, without rounding errors in the text."""
    table = grid_table({"C": [0.001, 0.01, 0.1, 1]}, lambda p: 0.8 - 0.02 * math.log10(p["C"]))

    assert only(table, "edge").line == '"C": [1e-05, 0.0001, 0.001],'


@pytest.mark.parametrize(
    ("name", "values", "line"),
    [
        ("n_estimators", [50, 100, 200], '"n_estimators": [200, 400, 800],'),
        ("m__max_depth", [2, 4, 6], '"m__max_depth": [6, 8, 10],'),
        ("subsample", [0.5, 0.7, 0.9], '"subsample": [0.9, 1.0],'),
        ("shrink", [0.2, 0.4, 0.6], '"shrink": [0.6, 0.8, 1.0],'),
        ("offset", [-4.0, -2.0, 0.0], '"offset": [0.0, 2.0, 4.0],'),
        ("C", np.logspace(-2, 0, 3), '"C": [1.0, 10.0, 100.0],'),
        ("max_bins", [63, 127, 255], None),
        ("l1_ratio", [0.0, 0.5, 1.0], None),
        ("max_features", [0.5, 0.75, 1.0], None),
        ("random_state", [1, 2, 3], None),
        ("max_depth", [2, 4, 6, None], None),
        ("criterion", ["a", "b", "c"], None),
    ],
)
def test_an_upper_edge_stays_inside_the_natural_bounds(name: str, values: Any, line: str | None):
    """Fractions end at 1; None beside numbers is no limit; seeds and categories have no edge."""
    values = list(values)
    last = len([value for value in values if value is not None]) - 1
    table = grid_table({name: values}, lambda p: 0.5 - abs(values.index(p[name]) - last))

    hints = advise(table)

    assert [hint.line for hint in hints if hint.kind == "edge"] == ([line] if line else [])


@pytest.mark.parametrize(
    ("name", "values", "line"),
    [
        ("n_neighbors", [1, 3, 5], None),
        ("n_neighbors", [5, 10, 15], '"n_neighbors": [1, 2, 5],'),
        ("min_samples_split", [2, 4, 8], None),
        ("ccp_alpha", [0.0, 0.1, 0.2], None),
        ("noise", [0.1, 0.5, 0.9], '"noise": [0.025, 0.05, 0.1],'),
        ("max_depth", [10, 20, None], '"max_depth": [2, 5, 10],'),
    ],
)
def test_a_lower_edge_stays_inside_the_natural_bounds(name: str, values: Any, line: str | None):
    """Counts are at least 1, and positive numbers stay positive."""
    table = grid_table({name: values}, lambda p: 0.5 - values.index(p[name]))

    assert [hint.line for hint in advise(table) if hint.kind == "edge"] == ([line] if line else [])


def test_a_plateau_at_the_edge_is_no_reason_to_extend():
    """The edge has to beat its neighbour."""
    table = grid_table({"C": [1, 10, 100]}, lambda p: min(p["C"], 10) / 100)

    assert advise(table) == ()


def test_an_edge_that_wins_by_chance_is_no_reason_to_extend():
    """Of two hundred searches whose parameters change nothing but noise, few get any hint."""
    grid = {"C": [0.1, 1, 10, 100], "gamma": [0.1, 1, 10], "n": [1, 2]}
    hints = [advise(grid_table(grid, lambda p: 0.8, noise=0.01, seed=seed)) for seed in range(200)]

    assert sum(bool(found) for found in hints) <= 10


def test_a_rise_that_noise_does_not_hide_is_found():
    """Of fifty noisy searches with an optimum beyond the range, most get the hint."""
    grid = {"svc__C": [0.1, 1, 10, 100], "gamma": [0.1, 1, 10]}
    hints = [advise(grid_table(grid, rising, noise=0.01, seed=seed)) for seed in range(50)]

    assert sum("svc__C" in [hint.parameter for hint in found] for found in hints) >= 40


def test_one_split_needs_a_trend_over_three_values():
    """A single comparison on one split shows nothing."""
    two = grid_table({"C": [1, 10]}, lambda p: p["C"] / 100, splits=1)
    three = grid_table({"C": [1, 10, 100]}, lambda p: p["C"] / 100, splits=1)

    assert advise(two) == ()
    assert only(three, "edge").parameter == "C"


def test_the_number_of_features_may_limit_the_range():
    """The text says so for parameters that count features."""
    table = grid_table({"pca__n_components": [2, 4, 6]}, lambda p: p["pca__n_components"] / 10)

    assert only(table, "edge").text.endswith("Extend the range if the data have more features.")


def draws(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.RandomState(seed)
    return [
        {
            "svc__C": float(10 ** random.uniform(-3, 3)),
            "depth": int(random.randint(2, 40)),
            "rate": float(random.uniform(0.2, 0.6)),
            "kind": str(random.choice(["a", "b"])),
            "leaf": int(random.choice([1, 2, 4])),
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("name", "sign", "distribution"),
    [
        ("svc__C", 1, "loguniform"),
        ("svc__C", -1, "loguniform"),
        ("depth", 1, "randint"),
        ("rate", 1, "uniform"),
        ("rate", -1, "uniform"),
    ],
)
def test_a_random_search_gets_a_distribution_beyond_its_edge(
    name: str, sign: int, distribution: str
):
    """Top candidates that crowd at an edge move the range; the line evaluates with its import."""
    table = grid_table(draws(120), lambda p: sign * math.log(p[name]), noise=0.05)

    hint = only(table, "edge")

    assert hint.imports == f"from scipy.stats import {distribution}"
    low, high = pasted(hint)[name].support()
    values = [params[name] for params in table.params]
    assert low > min(values) and high > max(values) if sign > 0 else high < max(values)
    assert sign > 0 or 0 < low < min(values)
    assert "of 120 candidates have" in hint.text


def test_a_random_search_over_lists_gets_a_list():
    """Few distinct numbers are a list."""
    table = grid_table(draws(120), lambda p: p["leaf"], noise=0.05)

    assert only(table, "edge").line == '"leaf": [4, 8, 16],'


def test_random_searches_of_noise_get_no_hint():
    """Chance does not crowd the top candidates at an edge."""
    hints = [advise(grid_table(draws(60, s), lambda p: 0.8, noise=0.01, seed=s)) for s in range(60)]

    assert sum(bool(found) for found in hints) <= 3


# ---- Finer steps --------------------------------------------------------------------------------


def peak(p: Mapping[str, Any]) -> float:
    return 0.9 - 0.05 * abs(math.log10(p["C"]) - 1)


def test_a_peak_between_far_lower_neighbours_gets_finer_steps():
    """Two new values towards each neighbour, on the axis of the values."""
    grid = {"C": [0.1, 1, 10, 100, 1000], "k": ["a", "b", "c"]}

    hint = only(grid_table(grid, peak, noise=0.001), "finer")

    assert hint.line == '"C": [2.2, 4.6, 10.0, 22.0, 46.0],'
    assert hint.text.startswith("C=10 scores 0.9")


@pytest.mark.parametrize(
    "values", [[1, 2, 3, 4, 5], [1.0, 1.1, 1.2], ["a", "b", "c"], [1, None, "auto"]]
)
def test_neighbouring_integers_and_categories_have_no_finer_steps(values: list[Any]):
    """There is nothing between them worth a fit."""
    table = grid_table({"n": values}, lambda p: -abs(values.index(p["n"]) - len(values) // 2))

    assert [hint for hint in advise(table) if hint.kind == "finer"] == []


def test_a_flat_peak_gets_no_finer_steps():
    """Neighbours that are nearly as good leave nothing to gain."""
    table = grid_table(
        {"C": [0.01, 0.1, 1, 10, 100, 1000]},
        lambda p: -(max(abs(math.log10(p["C"]) - 0.1), 1) ** 4),
    )

    assert advise(table) == ()


# ---- Nothing changes ----------------------------------------------------------------------------


def test_a_score_that_never_varies_is_the_only_hint():
    """Nothing else can be learned from such a search."""
    hint = only(grid_table({"C": [1, 10], "k": [1, 2]}, lambda p: 0.632), "constant")

    assert hint.text.startswith("All 4 candidates have the same mean score, 0.6320.")
    assert hint.line is None


def test_a_parameter_that_changes_nothing_keeps_one_value():
    """The text counts the candidates that are saved."""
    grid = {"C": [1, 10, 100], "tol": [1e-4, 1e-3], "name": ["a", "b"]}
    table = grid_table(grid, lambda p: -abs(p["C"] - 10) + (p["name"] == "b"))

    hint = next(hint for hint in advise(table) if hint.kind == "no-effect")

    assert (hint.parameter, hint.line) == ("tol", '"tol": [0.0001],')
    assert hint.text == (
        "tol changes nothing: its 2 values have equal scores in every combination with the other"
        " parameters. One value needs 6 candidates instead of 12."
    )


def test_a_small_effect_is_an_effect():
    """One different score of one split is enough for silence."""
    table = grid_table({"C": ["a", "b"], "tol": [1e-4, 1e-3]}, lambda p: ord(p["C"]) / 200)
    scores = table.scores.copy()
    scores[0, 0] += 1e-6

    assert advise(table_of(table.params, scores)) == ()


def test_a_parameter_idle_beside_one_value_gets_a_grid_of_its_own():
    """``gamma`` of a linear kernel repeats fits; the line is the whole grid."""
    grid = {"kernel": ["linear", "rbf"], "C": [1, 2], "gamma": [0.1, 0.5, 0.9]}

    def mean(p: Mapping[str, Any]) -> float:
        own = 0 if p["kernel"] == "linear" else -abs(p["gamma"] - 0.5)
        return own / 100 + (p["C"] == 1) * 0.0001

    hint = next(hint for hint in advise(grid_table(grid, mean)) if hint.kind == "no-effect")

    assert hint.text.startswith(
        "gamma changes nothing where kernel=linear: 4 candidates of 12 repeat the scores of others."
    )
    space: dict[str, Any] = {}
    exec(hint.line, space)
    assert hint.line.count("\n") == 3
    assert space["param_grid"] == [
        {"C": [1, 2], "kernel": ["linear"]},
        {"C": [1, 2], "gamma": [0.1, 0.5, 0.9], "kernel": ["rbf"]},
    ]


def test_a_grid_of_several_families_is_not_replaced_by_one_of_them():
    """A line with the grid of one family would lose the others."""
    first = [{"kernel": k, "gamma": g, "C": c} for k in "lr" for g in (1, 2) for c in (1, 2)]

    def mean(p: Mapping[str, Any]) -> float:
        if "kernel" not in p:
            return 0.0
        return 0.1 * p["C"] + (p["kernel"] == "r") * p["gamma"]

    table = grid_table([*first, {"other": 1}], mean, family=(0,) * 8 + (1,))

    hint = next(hint for hint in advise(table) if hint.kind == "no-effect")

    assert hint.text.startswith("gamma changes nothing where kernel=l:")
    assert hint.line is None


def test_an_estimator_has_no_line():
    """A line that would not evaluate is left out; the hint stays."""
    grid = {"C": ["a", "b"], "base": [SVC(C=1), SVC(C=2)]}
    table = grid_table(grid, lambda p: ord(p["C"]) / 200)

    hint = only(table, "no-effect")

    assert (hint.parameter, hint.line) == ("base", None)


# ---- Over-fitting -------------------------------------------------------------------------------


def with_train(table: CandidateTable, train: Any) -> CandidateTable:
    means = np.array([train(params) for params in table.params])
    return table_of(table.params, table.scores, train_scores=np.repeat(means[:, None], 5, axis=1))


def test_over_fitting_asks_for_simpler_models_than_any_tried():
    """The line continues the parameter on its simple side."""
    grid = {"max_depth": [8, 16, 32], "criterion": ["a", "b"]}
    table = grid_table(grid, lambda p: 0.8 + (p["max_depth"] == 16) * 0.001, noise=0.004)

    hint = only(with_train(table, lambda p: 0.99), "overfitting")

    assert hint.line == '"max_depth": [2, 4, 8],'
    assert hint.text.startswith("The best candidate over-fits: 0.9900 on its training data, 0.80")
    assert hint.text.endswith(
        "No candidate has half that gap. Try simpler models: smaller values of max_depth."
    )


def test_over_fitting_prefers_an_equal_candidate_with_a_small_gap():
    """The search has the remedy already."""
    table = grid_table({"leaf": ["one", "ten"]}, lambda p: 0.8, noise=0.002)
    best = table.params[int(np.argmax(table.scores.mean(axis=1)))]["leaf"]
    train = with_train(table, lambda p: 0.99 if p["leaf"] == best else 0.85)

    hint = only(train, "overfitting")

    assert "is statistically as good" in hint.text
    assert hint.text.endswith("prefer it.")


def test_over_fitting_is_accepted_where_simpler_models_are_worse():
    """A forest fits its training data perfectly, and that does no harm."""
    grid = {"min_samples_leaf": [1, 5, 25, 50]}
    table = grid_table(grid, lambda p: 0.9 - 0.01 * p["min_samples_leaf"], noise=0.001)

    assert advise(with_train(table, lambda p: 1.0 if p["min_samples_leaf"] < 5 else 0.9)) == ()


@pytest.mark.parametrize("train", [0.82, 0.79])
def test_a_usual_gap_is_no_over_fitting(train: float):
    """Train scores are a little better than test scores in any search."""
    table = grid_table({"max_depth": [8, 16]}, lambda p: 0.8, noise=0.004)

    assert advise(with_train(table, lambda p: train)) == ()


# ---- Cost ---------------------------------------------------------------------------------------


def test_a_value_that_costs_most_for_nothing_is_left_out():
    """The text has its part of the time and of the candidates."""
    grid = {"n": ["small", "middle", "large"], "k": ["a", "b"]}
    table = grid_table(
        grid,
        lambda p: 0.9 if p["n"] == "small" else 0.8,
        seconds=lambda p: 100 if p["n"] == "large" else 5,
        noise=0.001,
    )

    hint = only(table, "cost")

    assert hint.line == '"n": ["small", "middle"],'
    assert hint.text.startswith(
        "n=large takes 91 % of the fit time (17 min) in 33 % of the candidates, but its best score,"
    )


@pytest.mark.parametrize(
    ("best", "seconds"), [("large", 100), ("small", 1)], ids=["the best one", "seconds only"]
)
def test_time_that_is_worth_it_or_short_is_no_hint(best: str, seconds: float):
    """A dear value that is the best one stays; a short search is not worth a change."""
    table = grid_table(
        {"n": ["small", "large"], "k": ["a", "b"]},
        lambda p: 0.9 if p["n"] == best else 0.8,
        seconds=lambda p: seconds if p["n"] == "large" else 0.1,
        noise=0.001,
    )

    assert advise(table) == ()


def test_derived_fit_times_cost_nothing():
    """A time computed from another fit was not spent."""
    table = grid_table(
        {"n": ["small", "large"], "k": ["a", "b"]},
        lambda p: 0.9 if p["n"] == "small" else 0.8,
        seconds=lambda p: 100 if p["n"] == "large" else 5,
        noise=0.001,
        derived=np.ones((4, 5), dtype=bool),
    )

    assert advise(table) == ()


# ---- Failures -----------------------------------------------------------------------------------


def failing(grid: Any, fails: Any, **fields: Any) -> CandidateTable:
    table = grid_table(grid, lambda p: 0.8, noise=0.001, **fields)
    scores = table.scores.copy()
    scores[[bool(fails(params)) for params in table.params]] = np.nan
    return table_of(table.params, scores, family=table.family)


def test_failures_of_one_value_are_named():
    """The line has the values that work."""
    grid = {"lr__solver": ["lbfgs", "saga", "liblinear"], "tol": ["a", "b"]}

    hint = only(failing(grid, lambda p: p["lr__solver"] == "saga"), "failures")

    assert hint.line == '"lr__solver": ["lbfgs", "liblinear"],'
    assert hint.text.startswith("All 10 fits with lr__solver=saga failed, and none of the others.")


def test_failures_of_two_values_together_are_named():
    """``penalty='l1'`` works, but not with each solver."""
    grid = {"penalty": ["l1", "l2"], "solver": ["lbfgs", "saga"], "C": ["a", "b", "c"]}
    fails = failing(grid, lambda p: (p["penalty"], p["solver"]) == ("l1", "lbfgs"))

    hint = only(fails, "failures")

    assert hint.line is None
    assert hint.text.startswith(
        "All 15 fits with penalty=l1 and solver=lbfgs failed, and none of the others."
    )


def test_failures_of_several_pairs_are_put_together():
    """Values with the same partners are one group; a value that never works stands alone."""
    grid = {
        "solver": ["lbfgs", "newton-cg", "saga", "liblinear"],
        "l1_ratio": [0.0, 0.5, 1.0],
        "C": ["a", "b"],
    }

    def fails(p: Mapping[str, Any]) -> bool:
        return p["solver"] == "liblinear" or (p["solver"] != "saga" and p["l1_ratio"] > 0)

    hint = only(failing(grid, fails), "failures")

    assert hint.text.startswith(
        "All 70 fits with solver=lbfgs or newton-cg and l1_ratio=0.5 or 1.0, or with"
        " solver=liblinear failed, and none of the others."
    )


def test_failures_of_a_whole_family_are_named_by_its_label():
    """One of two grids does not work."""
    params = [{"clf": SVC(), "C": c} for c in "ab"] + [
        {"clf": DecisionTreeClassifier(), "d": d} for d in "ab"
    ]

    hint = only(failing(params, lambda p: "d" in p, family=(0, 0, 1, 1)), "failures")

    assert hint.text.startswith("All 10 fits with clf=DecisionTreeClassifier(…) failed.")


@pytest.mark.parametrize("part", [0.1, 1.0], ids=["scattered", "all"])
def test_scattered_failures_and_total_failure_are_no_hint(part: float):
    """No value explains them."""
    random = np.random.RandomState(0)
    grid = {"a": list("abcdef"), "b": list("ghijk")}

    assert advise(failing(grid, lambda p: random.rand() < part)) == ()


def test_fits_that_have_not_run_are_no_failures():
    """A table of a running search says which fits failed."""
    table = failing({"a": list("abc"), "b": list("def")}, lambda p: p["a"] == "a")
    running = table_of(table.params, table.scores, failed=np.zeros(table.scores.shape, dtype=bool))

    assert advise(running) == ()


# ---- All together -------------------------------------------------------------------------------


def test_there_are_at_most_five_hints_and_failures_come_first():
    """A reader acts on the first few only."""
    names = [f"p{index}" for index in range(6)]
    grid = {name: [1, 2, 4] for name in names}
    table = grid_table(grid, lambda p: sum(p[name] for name in names), splits=3)
    table = failing(
        [*table.params, *({**p, "bad": "x"} for p in table.params[:3])], lambda p: "bad" in p
    )
    scores = table.scores + np.array([[sum(p[n] for n in names)] for p in table.params])

    hints = advise(table_of(table.params, scores))

    assert len(hints) == 5
    assert [hint.kind for hint in hints] == ["failures"] + ["edge"] * 4


def test_hints_of_halving_read_the_first_iteration():
    """Slices through the best candidate exist only there."""
    grid = [{"C": c} for c in (1, 10, 100)]
    table = grid_table(grid + grid[2:], lambda p: p["C"] / 1000, rung=(0, 0, 0, 1))

    assert only(table, "edge").line == '"C": [100, 1000, 10000],'


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_search_gets_lines_that_evaluate(data: st.DataObject):
    """Whatever the values and scores are, advice is short, and each line is valid Python."""
    values = st.lists(
        st.one_of(
            st.integers(-3, 300),
            st.floats(1e-6, 1e6),
            st.sampled_from([None, "a", "it's", True, (1, 2), (3, 4), SVC(), math.nan, len]),
            st.floats(0, 1).map(np.float64),
            st.integers(0, 9).map(np.int64),
        ),
        min_size=1,
        max_size=4,
    )
    names = st.sampled_from(
        ["C", "svc__gamma", "max_depth", "subsample", 'odd"name', "n_components"]
    )
    grid = data.draw(st.dictionaries(names, values, min_size=1, max_size=3))
    seed = data.draw(st.integers(0, 100))
    noise = data.draw(st.sampled_from([0.0, 0.1]))
    weights = np.random.RandomState(seed).normal(size=6)

    def mean(p: Mapping[str, Any]) -> float:
        return sum(
            weight * [value is p[name] for value in grid[name]].index(True)
            for name, weight in zip(p, weights, strict=False)
        )

    table = grid_table(grid, mean, noise=noise, splits=data.draw(st.integers(1, 4)), seed=seed)
    keep = np.random.RandomState(seed).rand(len(table.params)) < data.draw(
        st.sampled_from([0.5, 2])
    )
    kept = [row for row in range(len(table.params)) if keep[row]] or [0]

    hints = advise(table_of([table.params[row] for row in kept], table.scores[kept]))

    assert len(hints) <= 5
    for hint in hints:
        assert hint.text.endswith(".")
        if hint.line is not None and hint.line.startswith("param_grid"):
            exec(hint.line, {})
        elif hint.line is not None:
            assert set(pasted(hint)) == {hint.parameter}
