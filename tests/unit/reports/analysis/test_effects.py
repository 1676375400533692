"""Families, columns and the effects of parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from skygrid.reports.analysis.columns import axis_of, make_columns
from skygrid.reports.analysis.effects import effects
from skygrid.reports.analysis.families import split_families
from skygrid.reports.analysis.texts import value_text
from skygrid.reports.analysis.values import literal, value_key
from tests.candidate_tables import grid_table, table_of


@pytest.mark.parametrize(
    ("numbers", "axis"),
    [
        ([0.001, 0.01, 0.1, 1, 10], "log"),
        ([1, 10], "log"),
        ([1, 2], "linear"),
        ([1, 2, 4, 8], "log"),
        ([1, 2, 3, 4, 5], "linear"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "linear"),
        ([10, 50, 100], "linear"),
        ([50, 100, 200], "log"),
        ([-1, 0, 1], "linear"),
        ([0, 5, 10], "linear"),
        ([0, 0.001, 0.01, 0.1], "category"),
        ([1, math.nan], "category"),
        (list(np.geomspace(1e-4, 10, 300)), "log"),
        (list(np.linspace(0.01, 10, 300)), "linear"),
    ],
)
def test_the_axis_follows_the_spacing_of_the_values(numbers: list[float], axis: str):
    """Log-spaced values get a logarithmic axis; 0 beside them has no place on one."""
    assert axis_of(np.array(numbers, dtype=float)) == axis


def test_values_are_ordered_with_numbers_first():
    """None and text come after the numbers, in the order of the grid."""
    table = grid_table({"max_depth": [None, 10, 2, "odd"]}, lambda p: 0.5)

    (column,) = make_columns(table, range(4))

    assert column.values == (2, 10, None, "odd")
    assert column.axis == "category"


def test_values_that_mean_different_things_stay_apart():
    """1, 1.0, True, "1" and (1,) are five values; NumPy's numbers equal Python's."""
    values = [1, 1.0, True, "1", (1,), [1], None, SVC(), SVC(C=2), SVC, math.nan]

    assert len({value_key(value) for value in values}) == len(values)
    assert value_key(np.float64(0.5)) == value_key(0.5)
    assert value_key(np.int64(3)) == value_key(3)
    assert value_key(SVC(C=2)) == value_key(SVC(C=2))
    assert value_key(np.array([1, 2])) == value_key(np.array([1, 2]))
    assert value_key(math.nan) == value_key(np.float64("nan"))
    assert value_key(len) != value_key(sum)
    assert value_key(lambda: 1) != value_key(lambda: 2)


def test_tuples_are_shown_as_tuples():
    """A text shows a value as Python does, and a float in five digits."""
    assert value_text((1, 2)) == "(1, 2)"
    assert value_text([None, "a"]) == '[None, "a"]'
    assert value_text(np.float64(1 / 3)) == "0.33333"
    assert value_text("rbf") == "rbf"
    assert value_text(SVC()) == "SVC(…)"


def test_objects_whose_repr_raises_are_themselves():
    """A value of the user's own class does not end the analysis."""

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    one = Hostile()
    assert value_key(one) == value_key(one) != value_key(Hostile())


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: st.tuples(inner, inner) | st.lists(inner, max_size=3),
        max_leaves=5,
    )
)
def test_a_literal_evaluates_to_its_value(value: object):
    """Text to paste gives back the same parameter."""
    text = literal(value)

    assert text is not None
    assert value_key(eval(text, {})) == value_key(value)


@pytest.mark.parametrize("value", [SVC(), math.inf, math.nan, len, SVC, np.zeros(2), object()])
def test_values_without_a_literal_have_none(value: object):
    """There is no text to paste for an object."""
    assert literal(value) is None


def test_numpy_scalars_have_the_literals_of_python():
    """``np.float64(0.1)`` is pasted as ``0.1``."""
    assert literal(np.float64(0.1)) == "0.1"
    assert literal((np.int64(2), None, np.str_("a"))) == '(2, None, "a")'


def test_grids_of_a_list_are_families():
    """Each has the label of the values that only it has."""
    params = [
        {"kernel": "linear", "C": 1},
        {"kernel": "linear", "C": 10},
        {"kernel": "rbf", "C": 1, "gamma": 0.1},
        {"kernel": "rbf", "C": 1, "gamma": 1.0},
    ]
    table = table_of(params, [[0.1], [0.2], [0.4], [0.3]], family=(0, 0, 1, 1))

    linear, rbf = split_families(table)

    assert (linear.label, linear.rows, linear.best) == ("kernel=linear", (0, 1), 1)
    assert (rbf.label, rbf.rows, rbf.best) == ("kernel=rbf, C=1", (2, 3), 2)
    assert (rbf.best_mean, rbf.median) == (0.4, pytest.approx(0.35))


def test_swapped_predictors_are_families_and_swapped_transformers_are_not():
    """Effects are never averaged across classes of predictors."""
    grid = {
        "scale": [StandardScaler(), MinMaxScaler(), "passthrough"],
        "clf": [SVC(), RandomForestClassifier()],
        "pca": [PCA(2), PCA(3)],
    }
    table = grid_table(grid, lambda p: 0.5)

    families = split_families(table)

    assert [family.label for family in families] == [
        "clf=SVC(…)",
        "clf=RandomForestClassifier(…)",
    ]
    assert [len(family.rows) for family in families] == [6, 6]
    assert {effect.name for effect in effects(table)} == {"scale", "pca"}


def test_predictors_of_one_class_are_values_of_one_family():
    """They are settings, as two depths of a base estimator."""
    table = grid_table({"estimator": [SVC(C=1), SVC(C=2)], "n": [1, 2]}, lambda p: 0.5)

    (family,) = split_families(table)

    assert family.label == ""
    assert {effect.name for effect in effects(table)} == {"estimator", "n"}


def test_the_marginal_mean_of_a_value_leaves_out_candidates_without_a_score():
    """They are counted, and stay among the rows."""
    params = [{"C": 1, "k": "a"}, {"C": 1, "k": "b"}, {"C": 10, "k": "a"}, {"C": 10, "k": "b"}]
    table = table_of(params, [[0.1, 0.3], [np.nan, 0.5], [0.5, 0.5], [0.7, 0.7]])

    effect = effects(table)[0]

    assert (effect.name, effect.axis, effect.family) == ("C", "log", 0)
    one, ten = effect.values
    assert (one.text, one.number, one.mean, one.best) == ("1", 1.0, 0.2, 0.2)
    assert (one.rows, one.scored) == ((0, 1), 1)
    assert (ten.mean, ten.best, ten.rows) == (pytest.approx(0.6), 0.7, (2, 3))


def test_effects_of_halving_are_those_of_the_first_iteration():
    """Later iterations hold only the best candidates."""
    params = [{"C": 1}, {"C": 10}, {"C": 10}]
    table = table_of(params, [[0.1], [0.2], [0.9]], rung=(0, 0, 1))

    assert [value.rows for value in effects(table)[0].values] == [(0,), (1,)]


def test_a_random_search_has_a_trend():
    """Ten groups of neighbouring values show the course of the score."""
    numbers = np.geomspace(0.001, 1000, 200)
    params = [{"C": float(number)} for number in numbers]
    table = grid_table(params, lambda p: math.log10(p["C"]), noise=0.1)

    (effect,) = effects(table)

    assert effect.axis == "log"
    assert len(effect.trend) == 10
    means = [mean for _, mean in effect.trend]
    assert means == sorted(means)


def test_a_grid_has_no_trend():
    """Its marginal means show the course already."""
    table = grid_table({"C": list(range(1, 31)), "k": [1, 2, 3]}, lambda p: 0.5)

    assert effects(table)[0].trend == ()
