"""How scikit-learn comes by the samples of a split, faster than it does by itself.

For each fit it asks four times what X, y and the indices are, down to the data frames of every
library that it knows: a tenth of a millisecond, longer than many a fit. Here that is found out once
for a round. What is taken is taken by the same expression, so it is the same to the last stride.

This module uses private names of scikit-learn: `_safe_split`, by which a fit takes its samples, and
`_safe_indexing`, by which that takes them out of one array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import sklearn
from sklearn.model_selection import _validation
from sklearn.utils import metaestimators

from .shared_samples import SharedSamples, are_rows

KEPT_BYTES = 32 * 1024 * 1024
"""Samples of all splits that are kept in a slot from one group to the next."""

PLAIN_ARRAYS = (np.ndarray, np.memmap, SharedSamples)
"""What scikit-learn takes rows out of as it stands, by ``array[indices, ...]``."""

_safe_indexing = metaestimators._safe_indexing


class SplitSamples:
    """X, y and the splits of a round, for the fits of one slot.

    Parameters
    ----------
    X, y
        As they are handed to scikit-learn.
    splits : sequence of (train, test)
        Its arrays are known by their ids, and live as long as this does.
    """

    def __init__(self, X: Any, y: Any, splits: Sequence[tuple[Any, Any]]) -> None:
        self._X, self._y = X, y
        self._splits = splits
        self._own_ids = {id(indices) for pair in splits for indices in pair}
        """scikit-learn makes new arrays of what is no array, whose ids come again."""

        self._plain = [_are_plain(X, y, pair) for pair in splits]
        self._last: tuple[Any, Any] = (None, None)
        self._samples: dict[tuple[int, ...], Any] = {}
        self.kept = (_bytes_of(X) + _bytes_of(y)) * len(splits) <= KEPT_BYTES
        """Whether samples are so few that they are kept for further groups."""

    # -- by the shortest way

    @contextmanager
    def at_hand(self, split: int) -> Iterator[None]:
        """Have the fit inside take its samples of a split without further questions.

        Only until it has them: what the fit itself asks scikit-learn for goes the usual way, and a
        traceback of it shows scikit-learn alone.
        """
        plain = self._plain[split] and _validation._safe_split is metaestimators._safe_split
        # Arrays of another library's are taken in another way.
        if not plain or sklearn.get_config()["array_api_dispatch"]:
            yield
            return
        self._last = (self._X if self._y is None else self._y, self._splits[split][1])
        metaestimators._safe_indexing = self._take
        try:
            yield
        finally:
            metaestimators._safe_indexing = _safe_indexing

    def _take(self, array: Any, indices: Any, *rest: Any, **named: Any) -> Any:
        if not (array is self._X or array is self._y) or id(indices) not in self._own_ids:
            return _safe_indexing(array, indices, *rest, **named)
        last_array, last_indices = self._last
        if array is last_array and indices is last_indices:
            metaestimators._safe_indexing = _safe_indexing
        return array[indices, ...]

    # -- once for several fits

    @contextmanager
    def asked_once(self) -> Iterator[None]:
        """Have scikit-learn take a split's samples out of X and y once, not for each fit inside.

        Only for estimators and scorers that write into nothing they are given, and of one kind: a
        square X is split by samples twice where an estimator's tags say so.
        """
        split, samples = _validation._safe_split, self._samples

        def split_once(estimator: Any, X: Any, y: Any, *indices: Any, **named: Any) -> Any:
            key = tuple(map(id, indices))
            known = X is self._X and y is self._y and self._own_ids.issuperset(key)
            if named or not known:
                return split(estimator, X, y, *indices, **named)
            if key not in samples:
                samples[key] = split(estimator, X, y, *indices)
            return samples[key]

        _validation._safe_split = split_once
        try:
            yield
        finally:
            _validation._safe_split = split
            if not self.kept:
                samples.clear()


def _are_plain(X: Any, y: Any, pair: tuple[Any, Any]) -> bool:
    """Whether scikit-learn takes these rows as `SplitSamples` does, and cannot fail to."""
    arrays = (X,) if y is None else (X, y)
    return all(
        type(array) in PLAIN_ARRAYS and array.ndim and are_rows(indices, array)
        for array in arrays
        for indices in pair
    )


def _bytes_of(part: Any) -> float:
    """Size of X or y; infinite where it is not known, as for lists of texts."""
    return 0 if part is None else float(getattr(part, "nbytes", math.inf))
