"""Large parts of calls: blobs of the node that the calls of a slot map.

The agent puts a link to each blob into the folder that its slots share. A mapping is kept while its
blob is there, because most calls of a loop have the same large arguments.
"""

from __future__ import annotations

import mmap
import os
import pickle
from typing import Any, Literal

import numpy as np

BLOBS_FOLDER = "blobs"
"""Folder of the links, in the folder that slots share."""

_folder = ""
_mapped: dict[str, mmap.mmap] = {}


def use_folder(folder: str) -> None:
    """Map blobs from this shared folder from now on."""
    global _folder
    forget_blobs()
    _folder = folder


def forget_blobs() -> None:
    """Drop every mapping; the memory is freed with the last array that uses it."""
    _mapped.clear()


def forget_deleted() -> None:
    """Drop the mappings of blobs that the agent has deleted."""
    for name in [name for name in _mapped if not os.path.lexists(_path(name))]:
        del _mapped[name]


def blob_path(folder: str, name: str) -> str:
    """Return the path of the link to a blob."""
    return os.path.join(folder, BLOBS_FOLDER, name)


def _path(name: str) -> str:
    return blob_path(_folder, name)


def _open(name: str, access: int) -> mmap.mmap:
    with open(_path(name), "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=access)


def _shared(name: str) -> mmap.mmap:
    if name not in _mapped:
        _mapped[name] = _open(name, mmap.ACCESS_READ)
    return _mapped[name]


# ---- called by pickles of the driver -------------------------------------------------------------


def mapped_array(
    name: str, dtype: Any, shape: tuple[int, ...], order: Literal["C", "F"], writable: bool
) -> Any:
    """Return an array in the memory of a blob.

    Parameters
    ----------
    name : str
    dtype : dtype
    shape : tuple of int
    order : {"C", "F"}
    writable : bool
        True: on pages of its own, which are copied when they are written to.
    """
    memory = _open(name, mmap.ACCESS_COPY) if writable else _shared(name)
    return np.ndarray(shape, dtype, memory, order=order)


def stored(name: str) -> Any:
    """Return the object whose pickle is a blob."""
    mapped = _open(name, mmap.ACCESS_READ)  # of one call alone, so it is not kept
    return pickle.loads(mapped)
