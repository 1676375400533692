"""Functional ANOVA of a random forest, for candidates that are no complete grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Codes, Column
from .exact_anova import Pairs
from .records import Floats

TREES = 48
MAX_ROWS = 2000
"""Maximum number of candidates to which the forest is fitted."""

MAX_LEVELS = 32
"""Maximum number of levels of a parameter; more values are put into groups of equal size."""

MAX_PAIRED = 8
"""Maximum number of parameters among which pairs are considered. With the three limits above the
decomposition of a search takes two or three seconds at most."""

SEED = 0


@dataclass(frozen=True, kw_only=True)
class ForestAnova:
    """Decomposed variance of a forest's predictions."""

    main: list[float]
    """Fraction of the variance for each column."""

    pairs: Pairs
    """Fraction for pairs of the most important columns, by their positions."""

    explained: float
    """Out-of-bag R² of the forest."""

    rows: int
    """Number of candidates to which the forest was fitted."""


def decompose_forest(columns: tuple[Column, ...], scores: Floats) -> ForestAnova:
    """Fit a forest to scores and decompose the variance of its trees.

    A tree is constant on boxes, so its marginal means and variances are sums over its leaves. The
    weight of a parameter's level is the fraction of the candidates that have it, and the parameters
    are taken as independent, as in the search that drew them. The result does not depend on the
    order of the candidates.

    Parameters
    ----------
    columns : tuple of Column
        Parameters with at least two values.
    scores : ndarray of shape (n_candidates,)
        Without NaN.

    References
    ----------
    F. Hutter, H. Hoos and K. Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter
    Importance", ICML 2014, section 4.
    """
    levels = np.stack([_levels(column, scores) for column in columns], axis=1)
    order = np.lexsort((scores, *levels.T))
    levels, scores = levels[order], scores[order]
    kept = _sample(len(scores))
    forest = _fit(levels[kept], scores[kept])
    weights = [np.bincount(part) / len(part) for part in levels.T]
    trees = [_Boxes.of(tree.tree_, weights) for tree in forest.estimators_]
    used = [boxes for boxes in trees if boxes.variance > 0]
    main = np.mean([boxes.main() for boxes in used], axis=0) if used else np.zeros(len(columns))
    leading = sorted(np.argsort(-main, kind="stable")[:MAX_PAIRED].tolist())
    pairs = {
        pair: float(np.mean([boxes.pair(*pair) for boxes in used])) if used else 0.0
        for pair in combinations(leading, 2)
    }
    return ForestAnova(
        main=main.tolist(), pairs=pairs, explained=float(forest.oob_score_), rows=len(kept)
    )


def _levels(column: Column, scores: Floats) -> Codes:
    """Return the level of each candidate; categories are ordered by their mean score.

    The order lets one threshold of a tree divide the categories in the best way.
    """
    codes = column.codes
    if column.axis == "category":
        sums = np.bincount(codes, weights=scores, minlength=len(column.values))
        counts = np.bincount(codes, minlength=len(column.values))
        means = sums / np.maximum(counts, 1)
        codes = np.argsort(np.lexsort((np.array(column.texts), np.round(means, 12))))[codes]
    present, codes = np.unique(codes, return_inverse=True)
    if len(present) <= MAX_LEVELS:
        return np.asarray(codes)
    # Groups of equal size; equal values stay together.
    ranks = np.searchsorted(np.sort(codes), codes, side="left")
    groups = ranks * MAX_LEVELS // len(codes)
    return np.asarray(np.unique(groups, return_inverse=True)[1])


def _sample(count: int) -> NDArray[np.intp]:
    if count <= MAX_ROWS:
        return np.arange(count)
    drawn = np.random.RandomState(SEED).choice(count, MAX_ROWS, replace=False)
    return np.sort(drawn)


def _fit(levels: Codes, scores: Floats) -> Any:
    import warnings

    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(
        n_estimators=TREES,
        min_samples_leaf=max(1, min(3, len(scores) // 20)),
        max_features=max(1, round(levels.shape[1] * 5 / 6)),
        oob_score=True,
        random_state=SEED,
    )
    with warnings.catch_warnings():
        # Some of a few candidates may be in every bootstrap sample; R² then leaves them out.
        warnings.simplefilter("ignore")
        forest.fit(levels, scores)
    return forest


@dataclass(frozen=True, kw_only=True, eq=False)
class _Boxes:
    """Leaves of one tree."""

    inside: list[Floats]
    """For each parameter: the weight of each level in each leaf, shape (n_leaves, n_levels); 0 for
    levels outside the leaf."""

    weights: list[Floats]
    """Weight of each level, for each parameter."""

    sizes: Floats
    """Weight of each leaf along each parameter, shape (n_leaves, n_parameters). Never 0."""

    values: Floats
    """Prediction of each leaf minus the mean prediction."""

    variance: float

    @classmethod
    def of(cls, tree: Any, weights: list[Floats]) -> _Boxes:
        """Make the boxes of a fitted tree."""
        low, high, leaves = _bounds(tree, [len(part) for part in weights])
        inside = []
        for parameter, part in enumerate(weights):
            level = np.arange(len(part))
            within = (level >= low[:, parameter, None]) & (level <= high[:, parameter, None])
            inside.append(np.where(within, part, 0.0))
        sizes = np.stack([part.sum(axis=1) for part in inside], axis=1)
        whole = sizes.prod(axis=1)
        values = tree.value[leaves, 0, 0]
        values = values - whole @ values
        variance = float(whole @ values**2)
        if variance <= (8 * np.finfo(np.float64).eps * np.abs(tree.value).max()) ** 2:
            variance = 0.0
        return cls(inside=inside, weights=weights, sizes=sizes, values=values, variance=variance)

    def main(self) -> list[float]:
        """Return the fraction of the variance for each parameter."""
        return [self._main(parameter) / self.variance for parameter in range(len(self.weights))]

    def pair(self, one: int, other: int) -> float:
        """Return the fraction of the variance for two parameters together."""
        first, second = self.weights[one], self.weights[other]
        rest = self.values * self._size_without(one, other)
        # Means weighted by the levels, so divide by the weights again.
        sums = (self.inside[one] * rest[:, None]).T @ self.inside[other]
        outer = np.outer(first, second)
        together = float((sums**2 / outer).sum())
        return max(0.0, (together - self._main(one) - self._main(other)) / self.variance)

    def _main(self, parameter: int) -> float:
        sums = (self.values * self._size_without(parameter)) @ self.inside[parameter]
        return float((sums**2 / self.weights[parameter]).sum())

    def _size_without(self, *parameters: int) -> Floats:
        kept = [place for place in range(self.sizes.shape[1]) if place not in parameters]
        return np.asarray(self.sizes[:, kept].prod(axis=1))


def _bounds(tree: Any, levels: list[int]) -> tuple[Codes, Codes, Codes]:
    """Return the first and last level of each leaf for each parameter, and the leaves' nodes."""
    low = np.zeros((tree.node_count, len(levels)), dtype=np.intp)
    high = np.tile(np.array(levels, dtype=np.intp) - 1, (tree.node_count, 1))
    for node in range(tree.node_count):  # children come after their parent
        left, right = tree.children_left[node], tree.children_right[node]
        if left < 0:
            continue
        parameter, border = tree.feature[node], int(np.floor(tree.threshold[node]))
        for child in (left, right):
            low[child], high[child] = low[node], high[node]
        high[left, parameter] = min(high[node, parameter], border)
        low[right, parameter] = max(low[node, parameter], border + 1)
    leaves = np.flatnonzero(tree.children_left < 0)
    return low[leaves], high[leaves], leaves
