"""Search for the part of a value that cannot be pickled or copied.

Pickle's own error, "cannot pickle '_thread.lock' object", names no place. When pickling fails, the
parts of the value are pickled one by one, then the parts of the part that fails, and so on.
"""

from __future__ import annotations

import functools
import io
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, GeneratorType, MethodType
from typing import Any

import numpy as np
from sklearn.base import clone

from skygrid.errors import SkygridError, UsageError
from skygrid.plan.fingerprint import digest
from skygrid.search_file.names import Names
from skygrid.user_code.module_values import own_references
from skygrid.user_code.source import describe, shorten
from skygrid.worker.user_code.pickling import Nowhere, is_made_anew
from skygrid.worker.user_code.references import node_pickler

MOST_STEPS = 100
"""Limit of parts that are taken apart."""

REMEDY = "make it inside fit or the function that uses it, or leave it out in __getstate__"

COPY_REMEDY = "make it inside fit, of parameters that can be copied, such as a path"

_COPIED = frozenset({type(None), bool, int, float, str, np.ndarray, FunctionType})
"""Types whose values can always be copied: skipping them saves time with large or many values."""

_CONTAINERS = (Mapping, list, tuple, set, frozenset)

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((type(threading.Lock()), type(threading.RLock())), "a lock"),
    (io.IOBase, "an open file"),
    (GeneratorType, "a generator"),
    (socket.socket, "a socket"),
    (threading.local, "a thread-local"),
)


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """An object that cannot be pickled or copied."""

    path: str
    """Place of the object in the value, as ``['clf__callback'][0]``."""

    problem: str
    """Kind of the object and the consequence, to follow the place in a message."""


@contextmanager
def obstacles_named(**parts: Any) -> Iterator[None]:
    """Name the object that cannot be pickled if the block fails because of one.

    Parameters
    ----------
    **parts : object
        Values that the block pickles, by their names in messages.

    Raises
    ------
    UsageError
        If a part cannot be pickled; the message names the part and the place in it.
    """
    try:
        yield
    except SkygridError:
        raise
    except Exception as error:
        for name, value in parts.items():
            obstacle = find_obstacle(value)
            if obstacle is not None:
                said = f"{name}{obstacle.path} {obstacle.problem}"
                raise UsageError(f"{said}; {REMEDY}") from error
        raise


def check_portable(names: Names, search: Any, data: Mapping[str, Any]) -> None:
    """Refuse a search file whose search or data cannot be sent to nodes and saved.

    Parameters
    ----------
    names : Names
    search : BaseSearchCV
    data : mapping of str to object
        X, y and fit parameters.

    Raises
    ------
    SearchFileError
        If an object cannot be pickled or copied; the message names it and its place.
    """
    whole = find_obstacle(search)
    if whole is not None:
        for name, value in search.get_params(deep=False).items():
            own = not names.given("search")
            place = names.place(name) if own else names.place("search").part(f".{name}")
            obstacle = find_obstacle(value)
            if obstacle is not None:
                raise place.part(obstacle.path).mistake(obstacle.problem, REMEDY)
        raise names.place("search").part(whole.path).mistake(whole.problem, REMEDY)
    for name in ("param_grid", "param_distributions"):
        obstacle = _find_in_grids(getattr(search, name, None))
        if obstacle is not None:
            own = not names.given("search")
            place = names.place(name) if own else names.place("search").part(f".{name}")
            raise place.part(obstacle.path).mistake(obstacle.problem, COPY_REMEDY)
    for name, value in data.items():
        obstacle = None if _is_plain(value) else find_obstacle(value)
        if obstacle is not None:
            place = names.place("dataset").part(f"'s {name}{obstacle.path}")
            raise place.mistake(obstacle.problem, REMEDY)


def find_obstacle(value: Any) -> Obstacle | None:
    """Find an object in a value that cannot be pickled; return None if there is none."""
    return _find(value, _pickle, "cannot be sent to nodes or saved")


def find_uncopied(estimator: Any) -> Obstacle | None:
    """Find an object in an estimator's parameters that scikit-learn cannot clone."""
    found = {
        name: obstacle
        for name, value in estimator.get_params(deep=True).items()
        if (obstacle := find_uncopied_value(value)) is not None
    }
    if not found:
        return None
    # A pipeline's parameters include those of its steps: the innermost one names the place.
    name = max(found, key=lambda name: name.count("__"))
    path = f".{name.replace('__', '.')}{found[name].path}"
    return Obstacle(path=path, problem=found[name].problem)


def find_uncopied_value(value: Any) -> Obstacle | None:
    """Find an object in the value of a parameter that scikit-learn cannot clone."""
    return _find(value, _copy, "scikit-learn cannot copy for each fit")


def _find_in_grids(grids: Any) -> Obstacle | None:
    """Find a value that cannot be copied in one or several dicts of values to try."""
    listed = grids if isinstance(grids, list | tuple) else [grids]
    for index, grid in enumerate(listed):
        for name, values in grid.items() if isinstance(grid, Mapping) else ():
            # A distribution has no values yet: they are drawn later.
            for number, value in enumerate(values if isinstance(values, list | tuple) else ()):
                obstacle = None if type(value) in _COPIED else find_uncopied_value(value)
                if obstacle is not None:
                    first = f"[{index}]" if listed is grids else ""
                    path = f"{first}[{name!r}][{number}]{obstacle.path}"
                    return Obstacle(path=path, problem=obstacle.problem)
    return None


def _find(value: Any, attempt: Callable[[Any], object], consequence: str) -> Obstacle | None:
    reason = _reason(value, attempt)
    if reason is None:
        return None
    found = _culprit(value, reason, set(), attempt)
    path, culprit, why = found or ("", value, reason)
    return Obstacle(path=path, problem=f"is {_described(culprit, why, consequence)}")


def _culprit(
    value: Any, reason: str, seen: set[int], attempt: Callable[[Any], object]
) -> tuple[str, Any, str] | None:
    """Return place, value and reason of the innermost part with which the attempt fails.

    None if no part of a container fails by itself: the container leads back to parts already seen.
    So does a function that refers to its own class, as `super` does.
    """
    seen.add(id(value))
    leads_back = isinstance(value, _CONTAINERS)
    for part, child in _parts(value):
        leads_back |= id(child) in seen
        why = None if id(child) in seen or len(seen) > MOST_STEPS else _reason(child, attempt)
        found = None if why is None else _culprit(child, why, seen, attempt)
        if found is not None:
            path, culprit, why = found
            return _joined(part, path), culprit, why
    return None if leads_back else ("", value, reason)


def _joined(part: str, path: str) -> str:
    """Join the places of a part and of a part in it; one comma stands between two phrases."""
    return (part.removesuffix(",") if path else part) + path


def _pickle(value: Any) -> None:
    pickler = node_pickler(
        Nowhere(), own_references(), protocol=5, buffer_callback=lambda buffer: None
    )
    pickler.dump(value)
    digest(value)  # the journal's fingerprint must work too; it reads objects in another way


def _copy(value: Any) -> None:
    clone(value, safe=False)


def _reason(value: Any, attempt: Callable[[Any], object]) -> str | None:
    """Return the reason why an attempt with a value fails; None if it succeeds."""
    try:
        attempt(value)
    except Exception as error:  # noqa: BLE001 (a user's __reduce__ may raise anything)
        return shorten(f"{type(error).__name__}: {error}")
    return None


def _described(value: Any, reason: str, consequence: str) -> str:
    kind = type(value)
    known = next((words for kinds, words in _KINDS if isinstance(value, kinds)), None)
    words = known or describe(value)
    why = "" if known else f" ({reason})"
    return f"{words} ({kind.__module__}.{kind.__qualname__}), which {consequence}{why}"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with its place in it."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, _CONTAINERS):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, np.ndarray):
        yield from ((f"[{index}]", item) for index, item in enumerate(value.ravel().tolist()))
    elif hasattr(value, "columns") and hasattr(value, "to_numpy"):
        yield from ((f"[{name!r}]", value[name].to_numpy()) for name in value.columns)
    elif isinstance(value, FunctionType):
        yield from _variables(value)
    elif isinstance(value, MethodType):
        yield from (("", value.__func__), ("", value.__self__))
    elif isinstance(value, functools.partial):
        yield from ((f".{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
    elif isinstance(value, property):
        yield from (("", one) for one in (value.fget, value.fset, value.fdel) if one is not None)
    elif isinstance(value, type):
        for name, item in vars(value).items():
            if not is_made_anew(item):
                yield f", attribute {name!r} of class {value.__name__},", item
        yield from (("", base) for base in value.__bases__)
    else:
        yield from _attributes(value)
        yield "", type(value)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object, and the steps of a pipeline by name."""
    slots = [name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ())]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    held |= getattr(value, "__dict__", {})
    for name, item in held.items():
        yield from _named_steps(item)
        yield f".{name}", item


def _named_steps(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for step in value:
            if isinstance(step, tuple) and len(step) > 1 and isinstance(step[0], str):
                yield f".{step[0]}", step[1]


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the variables, defaults and attributes that are pickled with a function."""
    called = f"{function.__name__}()"
    for name in _names_in(function.__code__):
        if name in function.__globals__ and not is_made_anew(function.__globals__[name]):
            yield f", variable {name!r} of {called},", function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f", variable {name!r} of {called},", cell.cell_contents
    yield f", a default of {called},", (function.__defaults__, function.__kwdefaults__)
    yield f", an attribute of {called},", function.__dict__


def _names_in(code: CodeType) -> Iterable[str]:
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= dict.fromkeys(_names_in(constant))
    return names


def _is_plain(value: Any) -> bool:
    """Return whether a value is an array or table of numbers or texts, which can be pickled."""
    kinds = [value.dtype] if hasattr(value, "dtype") else list(getattr(value, "dtypes", [object]))
    return all(str(kind).lower() != "object" for kind in kinds) and object not in kinds
