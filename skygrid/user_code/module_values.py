"""Values in the user's modules when a search begins.

A node imports these modules anew, but the program may have changed their globals on the driver.
So globals travel with the search, and attributes of classes: values, and the content of objects
that can be changed in place. See `worker.user_code.module_values` for the node's side.
"""

from __future__ import annotations

import enum
import inspect
import io
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import cloudpickle
from numpy.random import RandomState

from skygrid.user_code.modules import MAIN
from skygrid.worker.user_code.module_values import ModuleValues
from skygrid.worker.user_code.object_content import KEPT, Content, content_of
from skygrid.worker.user_code.pickling import (
    CACHED,
    is_known,
    is_made_anew,
    is_named,
    modules_by_name,
)
from skygrid.worker.user_code.references import References

ATOMS = (type(None), bool, int, float, complex, str, bytes)
"""Types of values without parts and identity."""

_CODE = (type, FunctionType, CACHED)

_BOUND = (MethodType, BuiltinFunctionType)

_NEVER = (ModuleType, io.IOBase)
"""Types of values that are never sent; pickling a file would read it."""

_OF_THE_LANGUAGE = frozenset({"typing", "typing_extensions", "types", "_abc", "__future__"})
"""Modules whose objects describe code."""


@dataclass(frozen=True, kw_only=True)
class UserValues:
    """Values of the user's modules, and references to objects in them."""

    values: ModuleValues
    references: References


def values_of(modules: Mapping[str, ModuleType], data: Mapping[str, Any]) -> UserValues:
    """Return the values of modules.

    Parameters
    ----------
    modules : mapping of str to ModuleType
        The user's modules that nodes import, by name.
    data : mapping of str to object
        Parts of the search's data. A global that is one of them is not sent again.

    Returns
    -------
    found : UserValues
    """
    parts = {id(value): name for name, value in data.items() if type(value) not in ATOMS}
    values: dict[str, dict[str, Any]] = {name: {} for name in modules}
    shared: dict[str, dict[str, str]] = {name: {} for name in modules}
    objects: dict[int, tuple[str, str, Any]] = {}
    for module, path, value in _globals(modules):
        if id(value) in parts:
            shared[module][path] = parts[id(value)]
            continue
        values[module][path] = value
        if type(value) not in ATOMS:
            objects.setdefault(id(value), (module, path, value))
    contents = {key: found for key, (*_, value) in objects.items() if (found := _content(value))}
    places: dict[int, tuple[str, str, type | None]] = {}
    of_libraries = _libraries.look([objects[key][2] for key in contents])
    for key, content in contents.items():
        module, path, _ = objects[key]
        if key in of_libraries:
            places[key] = (*of_libraries[key], None)
            if of_libraries[key][1] == path:  # the module has imported it
                del values[module][path]
        elif content.kind is not RandomState:
            places[key] = (module, path, content.kind)
            values[module][path] = content
    return UserValues(
        values=ModuleValues(
            values={
                name: _without_foreign_methods(found, objects.keys())
                for name, found in values.items()
            },
            shared={name: found for name, found in shared.items() if found},
        ),
        references=References(
            places=places, objects=tuple(value for _, _, value in objects.values())
        ),
    )


def own_references() -> References:
    """Return references to the globals of all modules that nodes import by name."""
    return values_of(modules_by_name(), {}).references


def _content(value: Any) -> Content | None:
    """Return the content of an object of which there may be one only; None for other objects."""
    if isinstance(value, RandomState):
        return Content(kind=RandomState)  # NumPy's global generator is a library's
    content = None if isinstance(value, _CODE) else content_of(value)
    if content is None:
        return None
    # A lock cannot be sent. Leaving it out here saves a search for it.
    items = _without_locks(content.items) if isinstance(content.items, dict) else content.items
    return replace(content, state=_without_locks(content.state), items=items)


def _without_locks(parts: Any) -> Any:
    if not parts or not any(map(is_made_anew, parts.values())):
        return parts
    return {name: KEPT if is_made_anew(part) else part for name, part in parts.items()}


def _without_foreign_methods(found: dict[str, Any], held: Collection[int]) -> dict[str, Any]:
    """Leave out methods of objects that no global holds, such as `numpy.random.rand`.

    A pickled method brings a copy of its object.
    """
    return {
        path: value
        for path, value in found.items()
        if not isinstance(value, _BOUND) or _is_builtin(value) or id(value.__self__) in held
    }


class _Libraries:
    """Finds objects that belong to libraries, such as `os.environ` in a module that imports it."""

    def __init__(self) -> None:
        self._loaded = 0
        self._known: dict[int, Any] = {}
        self._places: dict[int, tuple[str, str]] = {}

    def look(self, objects: Sequence[Any]) -> Mapping[int, tuple[str, str]]:
        """Return module and name of those objects that are globals of libraries, by id."""
        if len(sys.modules) != self._loaded:
            self._loaded = len(sys.modules)
            self._known, self._places = {}, {}
        new = [id(one) for one in objects if id(one) not in self._known]
        # Hold the objects, because others might get their ids.
        self._known = {id(one): one for one in objects}
        if new:
            # A pass over all modules takes milliseconds: remember its result.
            self._places |= _places_in_libraries(frozenset(new))
        self._places = {key: self._places[key] for key in self._places.keys() & self._known.keys()}
        return self._places


_libraries = _Libraries()


def _places_in_libraries(wanted: frozenset[int]) -> dict[int, tuple[str, str]]:
    left_out = {*cloudpickle.list_registry_pickle_by_value(), *MAIN}
    places: dict[int, tuple[str, str]] = {}
    for module, loaded in list(sys.modules.items()):
        if type(loaded) is not ModuleType or loaded.__name__ != module:
            continue  # a second name
        if is_known(module) or module in left_out:
            continue
        if wanted.isdisjoint(map(id, vars(loaded).values())):
            continue
        for name, found in vars(loaded).items():
            if id(found) in wanted and not _is_special(name):
                places.setdefault(id(found), (module, name))
    return places


def _globals(modules: Mapping[str, ModuleType]) -> Iterator[tuple[str, str, Any]]:
    """Yield module, name and value of globals and of the attributes of classes."""
    for name, module in modules.items():
        for path, value in _values_in(vars(module), name, modules):
            yield name, path, value
        for path, kind in list(vars(module).items()):
            if isinstance(kind, type) and kind.__module__ == name and path == kind.__name__:
                for inner, value in _attributes(kind, name, modules):
                    yield name, f"{path}.{inner}", value


def _attributes(kind: type, name: str, modules: Iterable[str]) -> Iterator[tuple[str, Any]]:
    if issubclass(kind, enum.Enum):
        return
    for inner, value in _values_in(vars(kind), name, modules):
        # Descriptors belong to the code of a class.
        if not isinstance(value, _CODE) and not hasattr(type(value), "__get__"):
            yield inner, value


def _values_in(
    namespace: Mapping[str, Any], module: str, modules: Iterable[str]
) -> Iterator[tuple[str, Any]]:
    for name, value in list(namespace.items()):
        kind = type(value)
        if _is_special(name) or issubclass(kind, _NEVER) or is_made_anew(value):
            continue
        if issubclass(kind, _CODE) or _is_builtin(value) or _is_compiled(value):
            if _is_assigned(name, value, module, modules):
                yield name, value
        elif kind.__module__ not in _OF_THE_LANGUAGE or kind is SimpleNamespace:
            yield name, value


def _is_special(name: str) -> bool:
    """Return whether Python sets a name itself, such as ``__file__``."""
    return name.startswith("__") and name.endswith("__")


def _is_builtin(value: Any) -> bool:
    """Return whether a value is a function of a C module, such as `sum`."""
    return type(value) is BuiltinFunctionType and type(value.__self__) is ModuleType


def _is_compiled(value: Any) -> bool:
    """Return whether a value stands for a function, such as one that numba compiles.

    A copy would be compiled again.
    """
    if not callable(value) or isinstance(value, _BOUND) or content_of(value) is not None:
        return False
    return isinstance(inspect.getattr_static(value, "__qualname__", None), str)


def _is_assigned(name: str, code: Any, module: str, modules: Iterable[str]) -> bool:
    """Return whether a program may have assigned a function or class.

    Most functions and classes are defined or imported by the module itself, under their names.
    """
    home = getattr(code, "__module__", None)
    if not isinstance(home, str):
        return False
    renamed = getattr(code, "__name__", name) != name
    if home == module:
        return renamed and is_named(code)
    if is_known(home) and home not in modules:
        return True  # of the program
    return (home in modules or renamed) and is_named(code)
