"""Values of the user's modules: globals, and attributes of classes, as the driver has them.

A node imports these modules anew, but the program may have changed their globals on the driver.
Their values travel with the search (`ModuleValues`) and are set after the import. An object that
can be changed in place keeps its identity, because functions and other modules may hold it.
"""

from __future__ import annotations

import contextlib
import importlib
import operator
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

DICTS = (dict, Counter, OrderedDict, defaultdict)
LISTS = (list, deque)

MOST_STEPS = 10_000
"""Most parts of two values that are compared; larger values are set without a comparison."""

MOST_DEPTH = 20
"""Deepest nesting of two values that are compared."""


class KEPT:
    """Stands for a part that cannot be sent: the node keeps its own."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """Content of an object that is changed in place."""

    kind: type
    """Class of the object."""

    state: Mapping[str, Any] | None = None
    """Attributes in its ``__dict__``."""

    slots: Mapping[str, Any] | None = None
    """Attributes in its slots."""

    items: Any = None
    """Items of a list, set or dict."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by position: a search has many of these."""
        return _content, (self.kind, self.state, self.slots, self.items)


def _content(kind: type, state: Any, slots: Any, items: Any) -> Content:
    return Content(kind=kind, state=state, slots=slots, items=items)


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
            _fill(global_of(module.__name__, path, value.kind, module), value)
            continue
        owner, name = _owner(module, path)
        if not _same(vars(owner).get(name, KEPT), value, [MOST_STEPS]):
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


def content_of(value: Any) -> Content | None:
    """Return the content of an object that can be changed in place; None for other objects."""
    kind = type(value)
    if kind in LISTS:
        return Content(kind=kind, items=list(value), state=_arguments(value))
    if kind in DICTS:
        return Content(kind=kind, items=dict(value), state=_arguments(value))
    if kind is set:
        return Content(kind=kind, items=set(value))
    if kind is SimpleNamespace:
        return Content(kind=kind, state=dict(vars(value)))
    if not _is_plain(kind):
        return None
    try:
        state = value.__reduce_ex__(2)[2]
    except TypeError:  # an object of a C extension
        return None
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    items: Any = None
    if isinstance(value, list):
        items = list.copy(value)
    elif isinstance(value, dict):
        items = dict.copy(value)
    return Content(kind=kind, state=attributes and dict(attributes), slots=slots, items=items)


def _arguments(value: Any) -> dict[str, Any] | None:
    return {"default_factory": value.default_factory} if type(value) is defaultdict else None


def _is_plain(kind: Any) -> bool:
    """Return whether objects of a class are pickled by their attributes and items alone."""
    special = ("__setstate__", "__getnewargs__", "__getnewargs_ex__")
    return (
        kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and kind.__getstate__ is object.__getstate__
        and not any(hasattr(kind, name) for name in special)
    )


def _fill(target: Any, content: Content) -> None:
    """Change an object in place; its parts that are equal stay."""
    own = content_of(target)
    assert own is not None
    steps = [MOST_STEPS]
    if content.items is not None:
        items = _merged(own.items, content.items, steps)
        if items is not None:
            _replace_items(target, items)
    known = {**(own.state or {}), **(own.slots or {})}
    sent = {**(content.state or {}), **(content.slots or {})}
    attributes = _merged(known, sent, steps)
    if attributes is None:
        return
    for name in known.keys() - attributes.keys():
        object.__delattr__(target, name)
    for name, value in attributes.items():
        object.__setattr__(target, name, value)


def _merged(own: Any, sent: Any, steps: list[int]) -> Any:
    """Return the items that were sent, with the node's own where they are equal or were not sent.

    None if nothing differs.
    """
    if isinstance(sent, dict):
        chosen = {
            key: own[key] if key in own and _stays(own[key], value, steps) else value
            for key, value in sent.items()
            if value is not KEPT or key in own
        }
        unchanged = list(own) == list(chosen) and all(own[key] is chosen[key] for key in chosen)
        return None if unchanged else chosen
    if isinstance(sent, list) and len(sent) == len(own):
        pairs = zip(own, sent, strict=True)
        merged = [one if _stays(one, value, steps) else value for one, value in pairs]
        return None if all(map(operator.is_, own, merged)) else merged
    return None if _same(own, sent, steps) else sent


def _stays(own: Any, sent: Any, steps: list[int]) -> bool:
    return sent is KEPT or _same(own, sent, steps)


def _replace_items(target: Any, items: Any) -> None:
    if isinstance(target, deque):
        target.clear()
        target.extend(items)
    elif isinstance(target, list):
        list.__setitem__(target, slice(None), items)
    elif isinstance(target, OrderedDict):
        target.clear()
        target.update(items)
    elif isinstance(target, dict):
        # A subclass may count or check what is stored in it.
        dict.clear(target)
        dict.update(target, items)
    else:
        target.clear()
        target.update(items)


def _same(known: Any, sent: Any, steps: list[int], depth: int = 0) -> bool:
    """Return True if two values are known to be equal, also in the types of their parts."""
    if known is sent:
        return True
    steps[0] -= 1
    kind = type(known)
    if kind is not type(sent) or steps[0] < 0 or depth == MOST_DEPTH:
        return False
    if kind in (bool, int, str, bytes):
        return bool(known == sent)
    if kind is FunctionType:
        # A decorator that keeps the function and returns another hides it from pickling by name.
        return (
            known.__module__ in _values
            and (known.__module__, known.__qualname__)
            == (
                sent.__module__,
                sent.__qualname__,
            )
            and bool(known.__code__ == sent.__code__)
        )
    if kind in (float, complex):
        return repr(known) == repr(sent)  # == takes -0.0 for 0.0, and no NaN for another
    if kind in (list, tuple, deque):
        return len(known) == len(sent) and all(
            _same(one, other, steps, depth + 1) for one, other in zip(known, sent, strict=True)
        )
    if kind in DICTS:
        # In order: fits may iterate.
        return len(known) == len(sent) and all(
            _same(one, other, steps, depth + 1)
            for one, other in zip(known.items(), sent.items(), strict=True)
        )
    if kind in (set, frozenset):
        plain = all(type(item) in (int, str, bytes) for one in (known, sent) for item in one)
        return plain and known == sent
    return False
