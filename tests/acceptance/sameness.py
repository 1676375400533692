"""Comparison of the objects that scikit-learn and skygrid made, to the last bit."""

from __future__ import annotations

import functools
import struct
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

TIMES = {"refit_time_", "mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time"}
"""Names of values that may differ; their types and shapes may not."""


def differences(ours: Any, theirs: Any, name: str = "") -> list[str]:
    """Return paths at which two objects differ: types, attributes, dtypes, bits, order of keys."""
    walk = _Walk()
    walk.compare(name, ours, theirs)
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found: list[str] = []
        self._met: set[tuple[int, int]] = set()
        self._alive: list[Any] = []

    def compare(self, path: str, a: Any, b: Any) -> None:
        if a is b or (id(a), id(b)) in self._met:
            return
        self._met.add((id(a), id(b)))
        self._alive += [a, b]  # keep the objects alive, so that their ids are not reused
        if type(a) is not type(b):
            self._note(path, type(a), type(b))
        else:
            self._same_type(path, a, b)

    def _note(self, path: str, a: Any, b: Any) -> None:
        self.found.append(f"{path}: {a!r:.300} is not {b!r:.300}")

    def _same_type(self, path: str, a: Any, b: Any) -> None:
        for kinds, compare in _BY_TYPE:
            if isinstance(a, kinds):
                compare(self, path, a, b)
                return
        self._object(path, a, b)

    def _float(self, path: str, a: float, b: float) -> None:
        if struct.pack("d", a) != struct.pack("d", b) and not (a != a and b != b):
            self._note(path, a, b)

    def _equal(self, path: str, a: Any, b: Any) -> None:
        if a != b:
            self._note(path, a, b)

    def _frame(self, path: str, a: Any, b: Any) -> None:
        if not a.equals(b):
            self._note(path, a, b)

    def _function(self, path: str, a: Any, b: Any) -> None:
        # Lambdas are created anew with each job, but from the same code.
        self.compare(f"{path}.__code__", a.__code__, b.__code__)

    def _method(self, path: str, a: Any, b: Any) -> None:
        self.compare(path, (a.__func__, a.__self__), (b.__func__, b.__self__))

    def _partial(self, path: str, a: Any, b: Any) -> None:
        self.compare(path, (a.func, a.args, a.keywords), (b.func, b.args, b.keywords))

    def _masked(self, path: str, a: Any, b: Any) -> None:
        self.compare(f"{path}.fill_value", a.fill_value, b.fill_value)
        self.compare(f"{path}.dtype", a.dtype, b.dtype)
        self.compare(f"{path}.mask", a.mask, b.mask)
        if np.array_equal(np.ma.getmaskarray(a), np.ma.getmaskarray(b)):
            # Values under a mask are uninitialised memory.
            self._array(f"{path}.data", a.compressed(), b.compressed())

    def _array(self, path: str, a: Any, b: Any) -> None:
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype != b.dtype or a.shape != b.shape:
            self._note(path, (a.dtype, a.shape), (b.dtype, b.shape))
        elif path.rpartition("'")[0].rpartition("'")[2] in TIMES:
            pass
        elif a.dtype.names:
            for field in a.dtype.names:  # bytes between fields are uninitialised
                self._array(f"{path}.{field}", a[field], b[field])
        elif a.dtype.hasobject:
            self.compare(path, a.ravel().tolist(), b.ravel().tolist())
        elif not _same_bits(a, b):
            self._note(path, a, b)

    def _mapping(self, path: str, a: Any, b: Any) -> None:
        if list(a) != list(b) and not any(key != key for key in a):
            self._note(f"{path} keys", list(a), list(b))
            return
        for key, (one, other) in zip(a, zip(a.values(), b.values(), strict=True), strict=True):
            self.compare(f"{path}[{key!r}]", one, other)

    def _items(self, path: str, a: Any, b: Any) -> None:
        if isinstance(a, set | frozenset):
            a, b = sorted(a, key=repr), sorted(b, key=repr)
        if len(a) != len(b):
            self._note(path, a, b)
            return
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            self.compare(f"{path}[{index}]", one, other)

    def _object(self, path: str, a: Any, b: Any) -> None:
        if hasattr(a, "__dict__"):
            if set(vars(a)) != set(vars(b)):
                self._note(f"{path} attributes", set(vars(a)), set(vars(b)))
                return
            for name in sorted(vars(a).keys() - TIMES):
                self.compare(f"{path}.{name}", vars(a)[name], vars(b)[name])
            return
        try:
            parts, others = a.__reduce_ex__(4), b.__reduce_ex__(4)
        except TypeError:  # locks and iterators can be compared by type only
            return
        self.compare(f"{path}()", parts, others)


_BY_TYPE: list[tuple[Any, Callable[[_Walk, str, Any, Any], None]]] = [
    (float, _Walk._float),
    ((int, str, bytes, complex, range, type, np.dtype), _Walk._equal),
    ((types.CodeType, types.BuiltinFunctionType), _Walk._equal),
    (np.ma.MaskedArray, _Walk._masked),
    ((np.ndarray, np.generic), _Walk._array),
    ((pd.DataFrame, pd.Series, pd.Index, pl.DataFrame, pl.Series), _Walk._frame),
    (Mapping, _Walk._mapping),
    ((list, tuple, set, frozenset), _Walk._items),
    (types.FunctionType, _Walk._function),
    (types.MethodType, _Walk._method),
    (functools.partial, _Walk._partial),
]


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    if a.tobytes() == b.tobytes():
        return True
    if a.dtype.kind not in "fc":
        return False
    both_nan = np.isnan(a) & np.isnan(b)
    return np.where(both_nan, 0, a).tobytes() == np.where(both_nan, 0, b).tobytes()
