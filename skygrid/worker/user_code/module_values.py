"""Values of the user's modules: globals, and attributes of classes, as the driver has them.

A node imports these modules anew, but the program may have changed their globals on the driver.
Their values travel with the search (`ModuleValues`) and are set after the import. An object that
can be changed in place keeps its identity, because functions and other modules may hold it.

A search needs few of the modules in a large project. So the values of a module are in a pickle of
their own, which stays closed until the module is imported.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .object_content import KEPT, MOST_STEPS, Content, fill, same
from .unpickling import global_of, node_unpickled, owner_of

Values = Mapping[str, Mapping[str, Any]]
"""By module, then by name: a value, or the `Content` of an object that is changed in place. The
attribute of a class has the class before it: ``Settings.limit``."""


@dataclass(frozen=True, kw_only=True)
class PickledValues:
    """Values of one module, or of several that hold the same objects."""

    modules: tuple[str, ...]
    data: bytes
    """Pickle of `Values`."""

    buffers: Sequence[Any] = ()
    """Buffers outside of the pickle, such as those of arrays."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by position: a search has many of these."""
        return _pickled, (self.modules, self.data, self.buffers)


def _pickled(modules: tuple[str, ...], data: bytes, buffers: Sequence[Any]) -> PickledValues:
    return PickledValues(modules=modules, data=data, buffers=buffers)


@dataclass(frozen=True, kw_only=True)
class ModuleValues:
    """Values to set in the modules of a node. Unpickling sets them in loaded modules."""

    values: Values = field(default_factory=dict)
    """Values of modules that hold objects of the search."""

    pickles: Sequence[PickledValues] = ()
    """Values of the other modules."""

    shared: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Values that are parts of the search's data: names of these parts, instead of values."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle so that unpickling on a node sets the values."""
        return _received, (self.values, tuple(self.pickles), self.shared)


_closed: dict[str, PickledValues] = {}
"""By module: pickles of which no module has been imported."""

_values: dict[str, Mapping[str, Any]] = {}
"""Values for modules that may be imported later."""

_data: dict[str, Mapping[str, Any]] = {}
"""Globals that are parts of the search's data, by module and name."""

_replaced: list[tuple[Any, str, Any]] = []
"""Module or class, name and own value of each global that has become a part of the data."""


def _received(
    values: Values, pickles: Sequence[PickledValues], shared: Mapping[str, Mapping[str, str]]
) -> ModuleValues:
    # Opening one may import modules that need another.
    _closed.update({name: pickled for pickled in pickles for name in pickled.modules})
    put_values(values)
    for name in list(_closed):
        if _is_loaded(name):
            _open(name)
    return ModuleValues(values=values, pickles=pickles, shared=shared)


def forget_values() -> None:
    """Forget the values of the last round, and take its data out of the modules."""
    _closed.clear()
    _values.clear()
    _data.clear()
    for owner, name, value in reversed(_replaced):
        _set(owner, name, value)
    _replaced.clear()


def put_values(values: Values) -> None:
    """Set values in loaded modules now, and in others after their import."""
    _values.update(values)
    for name, found in values.items():
        if _is_loaded(name):
            set_values(sys.modules[name], found)


def put_data(shared: Mapping[str, Mapping[str, str]], data: Mapping[str, Any]) -> None:
    """Set the globals that are parts of the search's data, until `forget_values`.

    Parameters
    ----------
    shared : mapping
        As in `ModuleValues`.
    data : mapping of str to object
        X, y and the fit parameters, by name.
    """
    for name, paths in shared.items():
        _data[name] = {path: data[part] for path, part in paths.items()}
        if _is_loaded(name):
            _set_data(sys.modules[name])


def values_after_import(modules: Iterable[ModuleType]) -> None:
    """Set the values of modules that were imported just now.

    Raises
    ------
    Exception
        If values cannot be unpickled here. The modules are not loaded then.
    """
    modules = list(modules)
    try:
        for module in modules:
            _open(module.__name__)
            set_values(module, _values.get(module.__name__, {}))
            _set_data(module)
    except BaseException:
        for module in modules:
            sys.modules.pop(module.__name__, None)
        raise


def _open(name: str) -> None:
    """Unpickle the values of a module; set them in all loaded modules of the same pickle."""
    pickled = _closed.get(name)
    if pickled is None:
        return
    # Unpickling may import these modules, which does not open the pickle once more.
    for one in pickled.modules:
        del _closed[one]
    try:
        values = node_unpickled(pickled.data, pickled.buffers)
    except BaseException:
        _closed.update(dict.fromkeys(pickled.modules, pickled))
        raise
    put_values(values)


def _is_loaded(name: str) -> bool:
    # The program, which is never imported here, has no specification.
    return getattr(sys.modules.get(name), "__spec__", None) is not None


def set_values(module: ModuleType, values: Mapping[str, Any]) -> None:
    """Set the values of a module where they differ."""
    for path, value in values.items():
        place = path.rpartition(".")[0]
        if place and place not in vars(module):
            continue  # a class that this machine's import does not define
        if isinstance(value, Content):
            fill(global_of(module.__name__, path, value.kind, module), value)
            continue
        owner, name = owner_of(module, path)
        if not same(vars(owner).get(name, KEPT), value, [MOST_STEPS]):
            _set(owner, name, value)


def _set_data(module: ModuleType) -> None:
    for path, value in _data.get(module.__name__, {}).items():
        owner, name = owner_of(module, path)
        own = vars(owner).get(name, KEPT)
        if own is not value:
            _replaced.append((owner, name, own))
            _set(owner, name, value)


def _set(owner: Any, name: str, value: Any) -> None:
    with contextlib.suppress(AttributeError, TypeError):  # the class is immutable
        if value is KEPT:
            delattr(owner, name)
        else:
            setattr(owner, name, value)
