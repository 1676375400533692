"""Values of an exception from a node, read from plain data.

A node may be hostile: reading a value runs no code of the node, opens nothing and imports nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from sklearn.utils import Bunch

from skygrid.util.terminal import without_escapes
from skygrid.worker.evaluation.exception_records import MOST_DEPTH
from skygrid.worker.wire.messages.exceptions import ClassName, PlainValue, TaggedValue
from skygrid.worker.wire.messages.results import MOST_DIGITS, TypedNumber
from skygrid.worker.wire.scores import NUMERIC_DTYPES, number_from_wire

_DTYPE = re.compile(rf"[<>|=][{NUMERIC_DTYPES}][0-9]{{1,2}}")


class Unsent:
    """Stand-in for an object that an exception held on its node and that is not sent as data.

    Parameters
    ----------
    kind : str
        Name of the object's class.
    written, said : str
        The object's ``repr`` and ``str``.
    """

    def __init__(self, kind: str, written: str, said: str) -> None:
        self.kind = kind
        self._written, self._said = written, said

    def __repr__(self) -> str:
        return self._written

    def __str__(self) -> str:
        return self._said


def read_value(wire: PlainValue, exception: Callable[[int], BaseException], depth: int = 0) -> Any:
    """Read a value of an exception record.

    Parameters
    ----------
    exception : callable
        Returns the exception with a number.
    depth : int
        Number of containers around the value. Nodes send at most `MOST_DEPTH`.

    Returns
    -------
    value : object
        `Unsent` for an object that was not sent, and for invalid data.
    """
    if isinstance(wire, str):
        return without_escapes(
            wire
        )  # Python writes an exception that is not caught to the terminal
    if not isinstance(wire, TaggedValue):
        return wire
    try:
        if wire.kind == "exception":
            return exception(_exact(wire.parts, int)[0])
        if depth > MOST_DEPTH:
            raise ValueError("a value that no node sends: reading it would exhaust the stack")
        if wire.kind in _CONTAINERS:
            parts = [read_value(part, exception, depth + 1) for part in wire.parts]
            return _CONTAINERS[wire.kind](parts)
        if wire.kind == "array":
            dtype, shape = wire.parts
            return _array(dtype, read_value(shape, exception, depth + 1), wire.data)
        return _READERS[wire.kind](wire)
    except (LookupError, TypeError, ValueError, OverflowError):
        return Unsent(wire.kind, f"<unreadable {wire.kind}>", f"<unreadable {wire.kind}>")


def loaded_class(name: ClassName) -> type | None:
    """Return the loaded class that a name refers to, None if there is none.

    A class that was sent by value is found by cloudpickle's identifier, any other in its module. No
    module is imported or asked for an attribute, because both may run code.
    """
    trackers = getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})
    found: Any = trackers.get(name.tracked)
    if found is None:
        found = sys.modules.get(name.module)
        for part in (name.place or name.qualified).split("."):
            found = found.__dict__.get(part) if isinstance(found, _HAVE_NAMES) else None
    if not isinstance(found, type) or (name.place and found.__qualname__ != name.qualified):
        return None
    return found


_HAVE_NAMES = (type(sys), type)


def _exact(parts: Sequence[PlainValue], *kinds: type) -> Sequence[Any]:
    if [type(part) for part in parts] != list(kinds):
        raise TypeError("parts of other types")
    return parts


def _pairs(parts: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


_CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": _pairs,
    "bunch": lambda parts: Bunch(**_pairs(parts)),
}


def _text(wire: TaggedValue) -> str:
    return without_escapes(str(wire.data, "utf-8", "surrogatepass"))


def _number(wire: TaggedValue) -> Any:
    kind, text = _exact(wire.parts, str, str)
    if len(text) > MOST_DIGITS:
        raise ValueError("too many digits")
    return number_from_wire(TypedNumber(kind, text))


def _dtype(name: Any) -> Any:
    if not _DTYPE.fullmatch(name):
        raise ValueError(f"not the dtype of numbers: {name!r}")
    return np.dtype(name)


def _array(dtype: Any, shape: Any, data: bytes) -> Any:
    return np.frombuffer(data, _dtype(dtype)).reshape(shape).copy()


def _class(wire: TaggedValue) -> type:
    name = ClassName(*_exact(wire.parts, str, str, str, str))
    found = loaded_class(name)
    if found is None:
        raise LookupError(name.qualified)
    return found


def _unsent(wire: TaggedValue) -> Unsent:
    kind, written, said = map(plain_text, wire.parts)
    return Unsent(kind, written, said)


def plain_text(wire: PlainValue) -> str:
    """Read a value that is a text.

    Raises
    ------
    TypeError, ValueError
        If it is no text.
    """
    if isinstance(wire, TaggedValue) and wire.kind == "text":
        return _text(wire)
    if isinstance(wire, str):
        return without_escapes(wire)
    raise TypeError("not a text")


_READERS: dict[str, Callable[[TaggedValue], Any]] = {
    "bytes": lambda wire: wire.data,
    "text": _text,
    "number": _number,
    "dtype": lambda wire: _dtype(_exact(wire.parts, str)[0]),
    "class": _class,
    "path": lambda wire: Path(plain_text(wire.parts[0])),
    "other": _unsent,
}
