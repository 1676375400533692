"""Values of the user's modules in pickles that a node opens one by one.

Modules that hold the same objects share a pickle, so that these stay the same objects. Values that
hold an object of the search travel in its own pickle.
"""

from __future__ import annotations

import enum
import io
import logging
import pickle
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, time, timedelta
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from skygrid.user_code import sendable_values
from skygrid.user_code.module_values import UserValues
from skygrid.user_code.sendable_values import has_large, without_obstacles
from skygrid.worker.user_code.module_values import ModuleValues, PickledValues, Values
from skygrid.worker.user_code.pickling import NodePickler, Nowhere, is_handle
from skygrid.worker.user_code.references import node_pickler

_WITHOUT_IDENTITY = (
    *(str, bytes, tuple, frozenset, int, float, complex, np.generic, np.dtype, enum.Enum),
    *(type, FunctionType, BuiltinFunctionType, ModuleType, CodeType),
    *(PurePath, date, time, timedelta, re.Pattern, logging.Logger),
)
"""Types of objects that cannot be changed, or exist once on a node in any case."""

Memo = Mapping[int, tuple[int, Any]]
"""Objects in a pickle by their ids, as in `pickle.Pickler.memo`."""


def packed_values(found: UserValues, search: Any) -> tuple[ModuleValues, tuple[str, ...]]:
    """Return the values as they travel to nodes.

    Parameters
    ----------
    found : UserValues
    search : object
        The other parts of the search.

    Returns
    -------
    values : ModuleValues
    too_large : tuple of str
        Names of the globals that are not sent, because they do not fit into
        `sendable_values.MOST_BYTES`.
    """
    too_large: tuple[str, ...] = ()
    if has_large(found):
        found, too_large = without_obstacles(found)
    pickles = _pickles(found)
    failed = [name for name, pickled in pickles.items() if pickled is None]
    if failed:
        kept, large = without_obstacles(_only(found, failed))
        found = replace(
            found,
            values=replace(found.values, values={**found.values.values, **kept.values.values}),
        )
        too_large += large
        pickles |= _pickles(_only(found, failed))
    made = {name: pickled for name, pickled in pickles.items() if pickled is not None}
    if sum(pickled.size for pickled in made.values()) > sendable_values.MOST_BYTES:
        found, too_large = without_obstacles(found)
        made = {name: one for name, one in _pickles(found).items() if one is not None}
    return _grouped(found, made, search), too_large


class _Pickle:
    """Values of some modules in one pickle.

    Parameters
    ----------
    values : Values
    found : UserValues
        Has the references.
    """

    def __init__(self, values: Values, found: UserValues) -> None:
        stream, self._buffers = io.BytesIO(), list[pickle.PickleBuffer]()
        pickler = _pickler(stream, found, self._buffers)
        pickler.dump(values)
        self.memo: Memo = pickler.memo.copy()
        """It also keeps temporary objects, whose ids would be used again."""

        self._data = stream.getvalue()
        self.size = len(self._data) + sum(buffer.raw().nbytes for buffer in self._buffers)

    def of(self, modules: Iterable[str]) -> PickledValues:
        """Return the pickle as it travels."""
        return PickledValues(modules=tuple(modules), data=self._data, buffers=tuple(self._buffers))


def _pickles(found: UserValues) -> dict[str, _Pickle | None]:
    """Return the pickle of each module that has values; None where one cannot be pickled."""
    return {
        name: _pickle_or_none({name: values}, found)
        for name, values in found.values.values.items()
        if values
    }


def _pickle_or_none(values: Values, found: UserValues) -> _Pickle | None:
    try:
        return _Pickle(values, found)
    except Exception:  # noqa: BLE001 (it is made again without the values that cannot be pickled)
        return None


def _pickler(stream: Any, found: UserValues, buffers: list[pickle.PickleBuffer]) -> NodePickler:
    return node_pickler(stream, found.references, protocol=5, buffer_callback=buffers.append)


def _only(found: UserValues, modules: Collection[str]) -> UserValues:
    values = {name: found.values.values[name] for name in modules}
    return replace(found, values=replace(found.values, values=values))


def _grouped(found: UserValues, pickles: Mapping[str, _Pickle], search: Any) -> ModuleValues:
    """Return the values, those of modules with common objects together."""
    values = found.values.values
    if not pickles:
        return replace(found.values, values={})
    of_search = _pickler(Nowhere(), found, [])
    of_search.dump(search)
    memos = [of_search.memo.copy(), *(pickled.memo for pickled in pickles.values())]
    with_search, *others = [
        [number - 1 for number in group if number] for group in _with_common_objects(memos)
    ]
    names = list(pickles)
    groups = [[names[number] for number in group] for group in others]
    return replace(
        found.values,
        values={names[number]: values[names[number]] for number in with_search},
        pickles=tuple(
            (
                pickles[group[0]]
                if len(group) == 1
                else _Pickle({name: values[name] for name in group}, found)
            ).of(group)
            for group in groups
        ),
    )


def _with_common_objects(memos: Sequence[Memo]) -> list[list[int]]:
    """Return the numbers of memos in groups; memos of different groups have no common object.

    The first group has the first memo.
    """
    met: set[int] = set()
    common: set[int] = set()
    passed: set[int] = set()
    for memo in memos:
        for key in (met & memo.keys()) - passed - common:
            (passed if _has_no_identity(memo[key][1]) else common).add(key)
        met |= memo.keys()
    group = list(range(len(memos)))
    first: dict[int, int] = {}
    for number, memo in enumerate(memos):
        for key in common & memo.keys():
            one, other = sorted((group[first.setdefault(key, number)], group[number]))
            group = [one if its == other else its for its in group]
    groups: dict[int, list[int]] = {}
    for number, its in enumerate(group):
        groups.setdefault(its, []).append(number)
    return list(groups.values())


def _has_no_identity(value: Any) -> bool:
    return isinstance(value, _WITHOUT_IDENTITY) or is_handle(value)
