"""Values of modules that can be sent to nodes: with pickle, within a size, without local paths.

Nodes keep the values of their own import for the rest.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from skygrid.plan.spec import UserCode
from skygrid.user_code.module_values import UserValues, values_of
from skygrid.worker.user_code.object_content import DICTS, KEPT, Content
from skygrid.worker.user_code.pickling import Nowhere, is_known, modules_by_name
from skygrid.worker.user_code.references import node_pickler

MOST_BYTES = 64 * 1024 * 1024
"""Limit of all values together, in bytes: they are sent again with every search that has others."""

MOST_STEPS = 10_000
"""Most parts of a value that are searched for a path."""


_large: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""Objects of the last search that did not fit, by id. Pickling one again could take seconds."""


def values_to_send(code: UserCode, data: Mapping[str, Any], *, shares_modules: bool) -> UserValues:
    """Return the values of the user's modules for nodes.

    Parameters
    ----------
    code : UserCode
    data : mapping of str to object
        Parts of the search's data.
    shares_modules : bool
        False: the node has the modules in other folders, so values with the path of a module's
        folder are left out.
    """
    known = modules_by_name()
    modules = {name: known[name] for name in code.by_name if name in known}
    # A module may have a second name, under which a node cannot import it.
    own = {name: one for name, one in modules.items() if one.__name__ == name}
    found = values_of(own, data)
    if shares_modules:
        return found
    places = {path.parent for path in code.by_name.values()} | {code.folder or Path.cwd()}
    folders = tuple(str(place) for place in places)
    return _chosen(found, lambda name, value: not _has_path(value, folders, [MOST_STEPS]))


def without_obstacles(found: UserValues) -> tuple[UserValues, tuple[str, ...]]:
    """Leave out the values that cannot be pickled, or do not fit into `MOST_BYTES`.

    Returns
    -------
    kept : UserValues
    too_large : tuple of str
        Names of the globals that do not fit.
    """
    sizes: dict[int, tuple[int, str, Any]] = {}

    def can_be_pickled(name: str, value: Any) -> bool:
        size = MOST_BYTES + 1 if id(value) in _large else _pickled_size(value, found)
        sizes[id(value)] = size or 0, name, value
        return size is not None

    kept = _chosen(found, can_be_pickled)
    room, names = MOST_BYTES, dict[int, str]()
    _large.clear()
    for size, name, value in sorted(sizes.values(), key=lambda measured: measured[:2]):
        room -= size
        if room < 0:
            names[id(value)] = name
            with suppress(TypeError):  # a list or dict, which may become small again, or a str
                _large[id(value)] = value
    fitting = _chosen(kept, lambda name, value: id(value) not in names)
    return fitting, tuple(sorted(set(names.values())))


def has_large(found: UserValues) -> bool:
    """Return whether there are objects that did not fit in the last search."""
    met = []

    def note(_name: str, value: Any) -> bool:
        met.append(id(value) in _large)
        return True

    if _large:
        _chosen(found, note)
    if not any(met):
        _large.clear()
    return any(met)


def _pickled_size(value: Any, found: UserValues) -> int | None:
    """Return the size in bytes; None if the value cannot be pickled."""
    sink = _Counting()
    try:
        node_pickler(sink, found.references, protocol=5, buffer_callback=sink.count_buffer).dump(
            value
        )
    except Exception:  # noqa: BLE001 (a user's __reduce__ may raise anything)
        return None
    return sink.size


class _Counting(Nowhere):
    size = 0

    def write(self, data: Any) -> int:
        self.size += memoryview(data).nbytes
        return len(data)

    def count_buffer(self, buffer: Any) -> None:
        self.size += buffer.raw().nbytes


Fits = Callable[[str, Any], bool]
"""Return whether a value, or a part of an object, can be sent; the name is that of the global."""


def _chosen(found: UserValues, fits: Fits) -> UserValues:
    """Return the values without those that do not fit."""
    values = {
        module: {path: _part(f"{module}.{path}", value, fits) for path, value in those.items()}
        for module, those in found.values.values.items()
    }
    kept = {
        module: {path: value for path, value in those.items() if value is not KEPT}
        for module, those in values.items()
    }
    return replace(found, values=replace(found.values, values=kept))


def _part(name: str, value: Any, fits: Fits) -> Any:
    """Return a value, or `KEPT` if it does not fit; of objects the parts that fit."""
    if not isinstance(value, Content):
        return value if fits(name, value) else KEPT
    chosen = replace(
        value,
        state=_items(name, value.state, fits),
        slots=_items(name, value.slots, fits),
        items=_items(name, value.items, fits),
    )
    # Half of the state of a library's object would be no state of it.
    divisible = value.kind in DICTS or is_known(value.kind.__module__)
    return chosen if divisible or _is_whole(value, chosen) else KEPT


def _is_whole(value: Content, chosen: Content) -> bool:
    parts = [*(chosen.state or {}).values(), *(chosen.slots or {}).values()]
    if isinstance(chosen.items, dict):
        parts += chosen.items.values()
    lost = value.items is not None and chosen.items is None
    return not lost and not any(part is KEPT for part in parts)


def _items(name: str, items: Any, fits: Fits) -> Any:
    if isinstance(items, dict):
        return {key: value if fits(name, value) else KEPT for key, value in items.items()}
    return items if items is None or fits(name, items) else None


def _has_path(value: Any, folders: Sequence[str], steps: list[int]) -> bool:
    """Return whether a value contains the path of a folder."""
    steps[0] -= 1
    if steps[0] < 0:
        return False
    if isinstance(value, str | PurePath):
        text = str(value)
        return any(folder in text for folder in folders)
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = [part for item in value.items() for part in item]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif is_known(type(value).__module__):
        parts = vars(value).values() if hasattr(value, "__dict__") else ()
    return any(_has_path(part, folders, steps) for part in parts)
