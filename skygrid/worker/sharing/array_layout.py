"""Copies and pickles of arrays that keep their strides.

NumPy makes a slice contiguous when it copies or pickles it. The order of elements in memory decides
the order in which they are summed, and with it the last bits of a score.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from skygrid.worker.user_code.pickling import NodePickler

MOST_GAPS = 16
"""Largest ratio of a slice's extent in memory to its own size; a sparser slice is not copied."""


class LayoutPickler(NodePickler):
    """Pickler that writes a strided slice together with the bytes between its elements.

    Raises
    ------
    pickle.PicklingError
        If `has_layout` is false for an array.
    """

    def reducer_override(self, obj: Any) -> Any:
        """Write strided arrays with their strides, and every other object as `NodePickler` does."""
        if type(obj) is np.ndarray and not is_contiguous(obj):
            if not has_layout(obj):
                raise pickle.PicklingError("the layout of a slice cannot be kept")
            return _strided, (_span(obj), obj.shape, obj.strides)
        return super().reducer_override(obj)


def is_contiguous(array: np.ndarray[Any, Any]) -> bool:
    """Return True if an array is contiguous in C or in Fortran order."""
    return bool(array.flags.c_contiguous or array.flags.f_contiguous)


def has_layout(array: np.ndarray[Any, Any]) -> bool:
    """Return True if `copy_layout` can copy an array."""
    if is_contiguous(array):
        return True
    steps = all(step > 0 and step % array.itemsize == 0 for step in array.strides)
    gaps = _length(array) * array.itemsize <= MOST_GAPS * array.nbytes if steps else False
    return gaps and not array.dtype.hasobject


def copy_layout(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a copy with the same strides."""
    if is_contiguous(array):
        return array.copy(order="K")
    return _strided(_span(array).copy(), array.shape, array.strides)


def copy_state(state: Any) -> Any:
    """Copy an estimator's attributes recursively, each array with its strides.

    References to one object remain references to one object.

    Raises
    ------
    Exception
        If an attribute cannot be pickled.
    """
    stream = io.BytesIO()
    LayoutPickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(state)
    return pickle.loads(stream.getbuffer())


def _length(array: np.ndarray[Any, Any]) -> int:
    """Return the number of elements from the first to the last one, gaps included."""
    sizes = zip(array.shape, array.strides, strict=True)
    return 1 + int(sum((size - 1) * (step // array.itemsize) for size, step in sizes))


def _span(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.lib.stride_tricks.as_strided(array, (_length(array),), (array.itemsize,))


def _strided(
    span: np.ndarray[Any, Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    return np.ndarray(shape, span.dtype, span, strides=strides)
