"""Values of the user's modules: globals, and attributes of classes, as the driver has them.

A node imports these modules anew, but the program may have changed their globals on the driver.
Their values travel with the search (`ModuleValues`) and are set after the import. An object that
can be changed in place keeps its identity, because functions and other modules may hold it.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .object_content import KEPT, MOST_STEPS, Content, fill, same

Values = Mapping[str, Mapping[str, Any]]
"""By module, then by name: a value, or the `Content` of an object that is changed in place. The
attribute of a class has the class before it: ``Settings.limit``."""


@dataclass(frozen=True, kw_only=True)
class ModuleValues:
    """Values to set in the modules of a node. Unpickling sets them."""

    values: Values = field(default_factory=dict)

    shared: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Values that are parts of the search's data: names of these parts, instead of values."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle so that unpickling on a node sets the values."""
        return _received, (self.values, self.shared)


_values: dict[str, Mapping[str, Any]] = {}
"""Values of the current search, for modules that are imported later."""


def _received(values: Values, shared: Mapping[str, Mapping[str, str]]) -> ModuleValues:
    received = ModuleValues(values=values, shared=shared)
    put_values(values)
    return received


def forget_values() -> None:
    """Forget the values of the previous search."""
    _values.clear()


def put_values(values: Values) -> None:
    """Set values in loaded modules now, and in others after their import."""
    _values.update({name: {**_values.get(name, {}), **found} for name, found in values.items()})
    for name, found in values.items():
        module = sys.modules.get(name)
        # The program, which is never imported here, has no specification.
        if module is not None and getattr(module, "__spec__", None) is not None:
            set_values(module, found)


def put_data(shared: Mapping[str, Mapping[str, str]], data: Mapping[str, Any]) -> None:
    """Set the globals that are parts of the search's data.

    Parameters
    ----------
    shared : mapping
        As in `ModuleValues`.
    data : mapping of str to object
        X, y and the fit parameters, by name.
    """
    put_values(
        {
            module: {name: data[part] for name, part in names.items()}
            for module, names in shared.items()
        }
    )


def values_after_import(module: ModuleType) -> None:
    """Set the values of a module that was imported just now."""
    set_values(module, _values.get(module.__name__, {}))


def set_values(module: ModuleType, values: Mapping[str, Any]) -> None:
    """Set the values of a module where they differ."""
    for path, value in values.items():
        place = path.rpartition(".")[0]
        if place and place not in vars(module):
            continue  # a class that this machine's import does not define
        if isinstance(value, Content):
            fill(global_of(module.__name__, path, value.kind, module), value)
            continue
        owner, name = _owner(module, path)
        if not same(vars(owner).get(name, KEPT), value, [MOST_STEPS]):
            with contextlib.suppress(AttributeError, TypeError):  # the class is immutable
                setattr(owner, name, value)


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
    owner, name = _owner(loaded or importlib.import_module(module), path)
    if kind is None:
        return vars(owner)[name]
    found = vars(owner).get(name)
    if type(found) is not kind:
        make: Any = kind.__new__
        found = make(kind)
        setattr(owner, name, found)
    return found


def _owner(module: ModuleType, path: str) -> tuple[Any, str]:
    place, _, name = path.rpartition(".")
    return vars(module)[place] if place else module, name
