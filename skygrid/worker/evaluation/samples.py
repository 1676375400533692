"""Samples of a split for scikit-learn, selected with fewer checks.

For each fit scikit-learn checks the types of X, y and the indices four times, in a tenth of a
millisecond, longer than many fits. Here they are checked once for a round. Samples are selected by
the same expression, so their strides are equal too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import sklearn

from . import sklearn_private
from .shared_samples import SharedSamples, are_rows
from .sklearn_private import safe_indexing

KEPT_BYTES = 32 * 1024 * 1024
"""Largest size of the samples of all splits that a slot keeps for later groups, in bytes."""

PLAIN_ARRAYS = (np.ndarray, np.memmap, SharedSamples)
"""Types whose rows scikit-learn selects by ``array[indices, ...]``."""


class SplitSamples:
    """Samples of a round's splits, for the fits of one slot.

    Parameters
    ----------
    X, y
        The objects that are passed to scikit-learn.
    splits : sequence of (train, test)
        Arrays are identified by their ids and live as long as this object.
    """

    def __init__(self, X: Any, y: Any, splits: Sequence[tuple[Any, Any]]) -> None:
        self._X, self._y = X, y
        self._splits = splits
        self._own_ids = {id(indices) for pair in splits for indices in pair}
        """scikit-learn converts other sequences to new arrays, whose ids are reused."""

        tested = sklearn_private.is_tested_release()
        self._plain = [tested and _are_plain(X, y, pair) for pair in splits]
        self._last: tuple[Any, Any] = (None, None)
        self._samples: dict[tuple[int, ...], Any] = {}
        self.kept = (_bytes_of(X) + _bytes_of(y)) * len(splits) <= KEPT_BYTES
        """True if all samples are few enough to be kept for later groups."""

    # -- without repeated checks

    @contextmanager
    def unchecked(self, split: int) -> Iterator[None]:
        """Have the fit inside select its samples of a split without checks.

        Ends after the last selection: the fit's own calls take the usual path, and its tracebacks
        show scikit-learn alone.
        """
        plain = self._plain[split] and sklearn_private.splits_by_itself()
        # With array API dispatch scikit-learn selects rows in another way.
        if not plain or sklearn.get_config()["array_api_dispatch"]:
            yield
            return
        self._last = (self._X if self._y is None else self._y, self._splits[split][1])
        sklearn_private.select_rows_with(self._take)
        try:
            yield
        finally:
            sklearn_private.select_rows_with(safe_indexing)

    def _take(self, array: Any, indices: Any, *rest: Any, **named: Any) -> Any:
        if not (array is self._X or array is self._y) or id(indices) not in self._own_ids:
            return safe_indexing(array, indices, *rest, **named)
        last_array, last_indices = self._last
        if array is last_array and indices is last_indices:
            sklearn_private.select_rows_with(safe_indexing)
        return array[indices, ...]

    # -- once for several fits

    @contextmanager
    def asked_once(self) -> Iterator[None]:
        """Have scikit-learn select a split's samples once for all fits inside.

        Valid only if estimators and scorers do not write into their input and all estimators have
        the same tags: a "pairwise" estimator selects both rows and columns of X.
        """
        split, samples = sklearn_private.safe_split(), self._samples

        def split_once(estimator: Any, X: Any, y: Any, *indices: Any, **named: Any) -> Any:
            key = tuple(map(id, indices))
            known = X is self._X and y is self._y and self._own_ids.issuperset(key)
            if named or not known:
                return split(estimator, X, y, *indices, **named)
            if key not in samples:
                samples[key] = split(estimator, X, y, *indices)
            return samples[key]

        sklearn_private.split_with(split_once)
        try:
            yield
        finally:
            sklearn_private.split_with(split)
            if not self.kept:
                samples.clear()


def _are_plain(X: Any, y: Any, pair: tuple[Any, Any]) -> bool:
    """Return True if scikit-learn selects these rows as `SplitSamples` does and cannot fail."""
    arrays = (X,) if y is None else (X, y)
    return all(
        type(array) in PLAIN_ARRAYS and array.ndim and are_rows(indices, array)
        for array in arrays
        for indices in pair
    )


def _bytes_of(part: Any) -> float:
    """Return the size of X or y; infinite if unknown, as for lists."""
    return 0 if part is None else float(getattr(part, "nbytes", math.inf))
