"""Plain data in the user's modules when a search begins.

A node imports these modules anew, but the program may have changed their globals on the driver.
Numbers, texts and containers of them are sent, so that functions read the same values on the node;
other objects are not sent.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

MOST_ITEMS = 10_000
"""Largest value that is sent, in items, characters and bytes; larger ones are data."""

MOST_DEPTH = 20
"""Deepest nesting of containers that is sent; a container that holds itself has no end."""

_ATOMS = (type(None), bool, int, float, complex)
_TEXTS = (str, bytes)
_CONTAINERS = (list, tuple, set, frozenset)


def plain_values(module: ModuleType) -> dict[str, Any]:
    """Return the plain globals of a module, and the plain attributes of its classes.

    Parameters
    ----------
    module : ModuleType

    Returns
    -------
    values : dict of str to object
        By name; an attribute has its class before it: ``Settings.limit``.
    """
    found = dict(_plain(vars(module)))
    for name, value in vars(module).items():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and not issubclass(value, enum.Enum):
            found |= {f"{name}.{inner}": item for inner, item in _plain(vars(value))}
    return found


def _plain(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in list(namespace.items()):
        if not name.startswith("__") and _size(value, MOST_ITEMS) <= MOST_ITEMS:
            yield name, value


def _size(value: Any, most: int, depth: int = 0) -> int:
    """Return the size of a plain value; more than `most` if it is larger or not plain."""
    kind = type(value)
    if kind in _ATOMS:
        return 1
    if kind in _TEXTS:
        return 1 + len(value)
    if kind is dict:
        parts = [part for item in value.items() for part in item] if len(value) <= most else None
    else:
        parts = list(value) if kind in _CONTAINERS and len(value) <= most else None
    if parts is None or depth == MOST_DEPTH:
        return most + 1
    size = 1
    for part in parts:
        size += _size(part, most - size, depth + 1)
        if size > most:
            break
    return size
