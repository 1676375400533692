"""Globals of the user's modules in pickles: by reference, so that each exists once on a node.

A program that imports ``registry`` from a module holds the same object as the module. Pickled by
value, it would be a copy. References are persistent ids, because pickle calls no other hook for
lists, dicts and sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .pickling import NodePickler


@dataclass(frozen=True, kw_only=True)
class References:
    """Objects that are pickled by reference."""

    places: Mapping[int, tuple[str, str, type | None]] = field(default_factory=dict)
    """Arguments of `unpickling.global_of`, by the object's id."""

    objects: tuple[Any, ...] = ()
    """The same objects, which keep their ids as long as they live."""


class ReferringPickler(NodePickler):
    """Pickler that writes references.

    Parameters
    ----------
    file : file object
    references : References
    **options
        As for `pickle.Pickler`.
    """

    def __init__(self, file: Any, references: References, **options: Any) -> None:
        super().__init__(file, **options)
        self._place_of = references.places.get

    def persistent_id(self, obj: Any) -> Any:
        """Return the reference to a global, or None for other objects."""
        return self._place_of(id(obj))


def node_pickler(file: Any, references: References, **options: Any) -> NodePickler:
    """Return a pickler for nodes. Without references it calls no function for each object."""
    if references.places:
        return ReferringPickler(file, references, **options)
    return NodePickler(file, **options)
