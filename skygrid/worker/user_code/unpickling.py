"""Unpickling on a node: globals of the user's modules come as references to them."""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Iterable
from types import ModuleType
from typing import Any


class NodeUnpickler(pickle.Unpickler):
    """Unpickler that resolves references."""

    def persistent_load(self, pid: Any) -> Any:
        """Return the global of a reference."""
        return global_of(*pid)


def node_unpickled(data: bytes | memoryview, buffers: Iterable[Any]) -> Any:
    """Return the object of a pickle from the driver."""
    return NodeUnpickler(io.BytesIO(data), buffers=buffers).load()


def global_of(module: str, path: str, kind: type | None, loaded: ModuleType | None = None) -> Any:
    """Return the object that is a global of a module; make an empty one if it is missing.

    Parameters
    ----------
    module : str
    path : str
        Name of the global, with its class before it if it is an attribute.
    kind : type or None
        Class of the object on the driver. An object of another class is replaced. None: the object
        belongs to a library, whose globals are not changed.
    loaded : ModuleType, optional
        The module, if it is known.
    """
    owner, name = owner_of(loaded or importlib.import_module(module), path)
    if kind is None:
        return vars(owner)[name]
    found = vars(owner).get(name)
    if type(found) is not kind:
        make: Any = kind.__new__
        found = make(kind)
        setattr(owner, name, found)
    return found


def owner_of(module: ModuleType, path: str) -> tuple[Any, str]:
    """Return the module or class that has a global or attribute, and the name in it."""
    place, _, name = path.rpartition(".")
    return vars(module)[place] if place else module, name
