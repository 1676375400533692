"""Functional ANOVA of a complete grid."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from .records import Floats

Pairs = dict[tuple[int, int], float]


def decompose(values: Floats) -> tuple[list[float], Pairs]:
    """Decompose the variance of an array into main effects and effects of pairs.

    Each cell has the same weight. The main effect of an axis is the variance of the means along it;
    the effect of a pair is the variance of the means over both axes minus both main effects. The
    rest belongs to three and more axes together.

    Parameters
    ----------
    values : ndarray
        One axis for each parameter, without NaN.

    Returns
    -------
    main : list of float
        Fraction of the variance for each axis; all 0 if the values do not vary.
    pairs : dict of (int, int) to float
        Fraction for each pair of axes.

    References
    ----------
    G. Hooker, "Generalized Functional ANOVA Diagnostics for High-Dimensional Functions of Dependent
    Variables", Journal of Computational and Graphical Statistics 16, 709-732, 2007, section 2.
    """
    centred = values - values.mean()
    total = float(np.mean(centred**2))
    axes = range(values.ndim)
    pairs = list(combinations(axes, 2))
    if total <= _rounding(values) ** 2:
        return [0.0] * values.ndim, dict.fromkeys(pairs, 0.0)
    main = [_variance(centred, {axis}) / total for axis in axes]
    together = {
        (one, other): _variance(centred, {one, other}) / total - main[one] - main[other]
        for one, other in pairs
    }
    return (
        [_fraction(value) for value in main],
        {pair: _fraction(value) for pair, value in together.items()},
    )


def _variance(centred: Floats, kept: set[int]) -> float:
    others = tuple(axis for axis in range(centred.ndim) if axis not in kept)
    return float(np.mean(centred.mean(axis=others) ** 2))


def _rounding(values: Floats) -> float:
    return 8 * float(np.finfo(np.float64).eps) * float(np.abs(values).max())


def _fraction(value: float) -> float:
    return min(1.0, value) if value > 1e-12 else 0.0
