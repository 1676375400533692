"""Content of objects that a node changes in place.

A list, a dict or an object with ordinary attributes may be known to functions and other modules, so
it stays the same object and gets the content of the driver's.
"""

from __future__ import annotations

import operator
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
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


def fill(target: Any, content: Content) -> None:
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
    return None if same(own, sent, steps) else sent


def _stays(own: Any, sent: Any, steps: list[int]) -> bool:
    return sent is KEPT or same(own, sent, steps)


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


def same(known: Any, sent: Any, steps: list[int], depth: int = 0) -> bool:
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
        # A decorator that keeps a function and returns another hides it from pickling by name.
        ours, theirs = _parts_of_function(known), _parts_of_function(sent)
        return bool(ours[0] == theirs[0]) and same(ours[1:], theirs[1:], steps, depth + 1)
    if kind in (list, tuple, deque):
        return len(known) == len(sent) and all(
            same(one, other, steps, depth + 1) for one, other in zip(known, sent, strict=True)
        )
    if kind in DICTS:
        # In order: fits may iterate.
        return len(known) == len(sent) and all(
            same(one, other, steps, depth + 1)
            for one, other in zip(known.items(), sent.items(), strict=True)
        )
    if kind in (set, frozenset):
        plain = all(type(item) in (int, str, bytes) for one in (known, sent) for item in one)
        return plain and known == sent
    return False


def _parts_of_function(function: FunctionType) -> tuple[Any, ...]:
    try:
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError:  # a cell is empty
        cells = (object(),)
    defaults = function.__defaults__, function.__kwdefaults__
    place = function.__module__, function.__qualname__
    return function.__code__, place, defaults, cells, vars(function)
