"""Scorers that read or write everything that a scorer can reach."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.metrics import make_scorer

NOTED_BY_VALUE = (type(None), str, bytes, int, float, complex, np.generic, type)


class Description:
    """Description of an object: names, order, bits, strides and objects that occur twice.

    Parameters
    ----------
    value : object
    **data : object
        Arrays by name; arrays in attributes that may share their memory are marked.
    """

    def __init__(self, value: Any, **data: Any) -> None:
        self.lines: list[str] = []
        self._data = {n: array for n, array in data.items() if isinstance(array, np.ndarray)}
        self._met: dict[int, tuple[str, Any]] = {}
        self._read("", value)

    @property
    def number(self) -> float:
        """Checksum of the description."""
        return float(zlib.crc32("\n".join(self.lines).encode()))

    def _note(self, path: str, *facts: Any) -> None:
        self.lines.append(f"{path}: {' '.join(map(str, facts))}")

    def _read(self, path: str, value: Any) -> None:
        kind = type(value).__name__
        if isinstance(value, NOTED_BY_VALUE):
            self._note(path, kind, value)
        elif isinstance(value, tuple):
            self._items(path, enumerate(value))
        elif id(value) in self._met:
            self._note(path, "is", self._met[id(value)][0])
        else:
            self._met[id(value)] = path, value  # keeps the id from being reused
            self._note(path, kind)
            self._parts(path, value)

    def _parts(self, path: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            self._array(path, value)
        elif isinstance(value, np.random.RandomState):
            self._items(path, enumerate(value.get_state()))
        elif isinstance(value, list | tuple):
            self._items(path, enumerate(value))
        elif isinstance(value, dict):
            self._items(path, value.items())
        elif sparse.issparse(value):
            self._items(path, [(n, getattr(value, n)) for n in ("data", "indices", "indptr")])
        elif hasattr(value, "__dict__") and not callable(value):
            self._items(path, vars(value).items())
        elif type(value).__reduce_ex__ is object.__reduce_ex__ and hasattr(value, "__getstate__"):
            self._items(path, [("state", value.__getstate__())])

    def _items(self, path: str, items: Any) -> None:
        for name, item in items:
            if name != "n_threads":  # threads of the process, stored by scikit-learn 1.5
                self._read(f"{path}.{name}", item)

    def _array(self, path: str, array: Any) -> None:
        if array.dtype.hasobject:
            self._items(path, enumerate(array.ravel().tolist()))
            return
        # Strides of axes with one element have no effect.
        strides = [step for step, n in zip(array.strides, array.shape, strict=True) if n > 1]
        shared = [name for name, given in self._data.items() if np.may_share_memory(array, given)]
        bits = zlib.crc32(array.tobytes())
        self._note(path, array.dtype.str, array.shape, array.size and strides, shared, bits)


def parts_of(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and all estimators in its attributes and in lists of (name, estimator)."""
    yield estimator
    for value in vars(estimator).values():
        for item in value if isinstance(value, list | tuple) else [value]:
            for part in item if isinstance(item, tuple) else [item]:
                if hasattr(part, "get_params") and not isinstance(part, type):
                    yield from parts_of(part)


def plain_score(estimator: Any, X: Any, y: Any) -> float:
    """Return `score`, or for transformers the sum of their output."""
    if hasattr(estimator, "score"):
        return float(estimator.score(X, y))
    return float(np.asarray(estimator.transform(X)).sum())


def reads_everything(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Return a number that depends on every attribute, their order and their shared objects."""
    return Description(estimator, X=X, y=y).number


def counts_attributes(estimator: Any, X: Any, y: Any) -> float:
    """Return the number of attributes of every reachable estimator."""
    return float(sum(len(vars(part)) for part in parts_of(estimator)))


def writes_into_everything(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Score, change X, y and all attributes of the estimator, and score again."""
    found = plain_score(estimator, X, y)
    for part in parts_of(estimator):
        for name, value in vars(part).items():
            if name.startswith("oob_"):
                found += float(np.nansum(value))
            _multiply(value)
    _spoil(X)
    _spoil(y)
    return found + plain_score(estimator, X, y)


def _multiply(value: Any) -> None:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.flags.writeable:
        value *= 1.25
    if isinstance(value, dict):
        value |= {name: item * 2 for name, item in value.items() if type(item) is float}


def _spoil(data: Any) -> None:
    if sparse.issparse(data):
        data.data *= -1.5
    elif isinstance(data, np.ndarray):
        data[:] = data[::-1].copy()
    elif data.ndim == 1:
        data.iloc[:] = data.iloc[::-1].to_numpy()
    else:
        data.iloc[:, 0] = -3.0


def spoils_labels(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
    """Compute a metric, then reverse both arguments in place."""
    found = float(np.mean(np.asarray(y_true) == y_pred))
    if np.asarray(y_true).dtype.kind == "f":
        found = float(np.mean(np.abs(np.asarray(y_true) - y_pred)))
    _spoil(y_true)
    _spoil(y_pred)
    return found


SCORERS = {
    "plain": None,
    "reads": reads_everything,
    "writes": writes_into_everything,
    "metric_writes": make_scorer(spoils_labels),
}
