"""Simplicity: parameters whose values order models from simple to complex."""

from __future__ import annotations

import numpy as np

from .columns import Column
from .records import Bools, Floats
from .values import last_part

MORE_IS_COMPLEX = frozenset(
    {
        "C",
        "degree",
        "gamma",
        "k",
        "max_depth",
        "max_iter",
        "max_leaf_nodes",
        "n_components",
        "n_estimators",
        "n_knots",
        "n_features_to_select",
    }
)
"""Parameters of scikit-learn of which a larger number makes a more complex model."""

MORE_IS_SIMPLE = frozenset(
    {
        "alpha",
        "ccp_alpha",
        "l2_regularization",
        "min_child_weight",
        "min_df",
        "min_impurity_decrease",
        "min_samples_leaf",
        "min_samples_split",
        "n_neighbors",
        "reg_alpha",
        "reg_lambda",
    }
)
"""Parameters of which a larger number makes a simpler model."""

NONE_IS_NO_LIMIT = frozenset(
    {"max_depth", "max_leaf_nodes", "n_components", "n_features_to_select"}
)
"""Parameters of which None makes the most complex model."""


def direction(name: str) -> int:
    """Return 1 if larger numbers make simpler models, -1 if more complex ones, 0 if unknown."""
    own = last_part(name)
    return int(own in MORE_IS_SIMPLE) - int(own in MORE_IS_COMPLEX)


def complexity(column: Column) -> Floats | None:
    """Return the complexity of each value of a column; NaN where it is unknown.

    None for a parameter that does not order models.
    """
    sign = direction(column.name)
    if not sign:
        return None
    result = -sign * column.numbers
    if last_part(column.name) in NONE_IS_NO_LIMIT:
        unlimited = np.array([value is None for value in column.values])
        result = np.where(unlimited, np.inf, result)
    return np.asarray(result)


def simpler(columns: tuple[Column, ...], best: int) -> Bools:
    """Report which candidates are simpler than the one at position `best`.

    Each parameter that differs has a value that makes a simpler model.
    """
    count = len(columns[0].codes) if columns else 0
    differs = np.zeros(count, dtype=np.bool_)
    allowed = np.ones(count, dtype=np.bool_)
    for column in columns:
        other = column.codes != column.codes[best]
        differs |= other
        values = complexity(column)
        if values is None:
            allowed &= ~other
        else:
            allowed &= ~other | (values < values[column.codes[best]])[column.codes]
    return differs & allowed


def steps_away(columns: tuple[Column, ...], best: int) -> Floats:
    """Return by how many values each candidate differs from the one at position `best`."""
    total = np.zeros(len(columns[0].codes) if columns else 0)
    for column in columns:
        total += np.abs(column.codes - column.codes[best])
    return total
