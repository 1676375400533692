"""Exceptions as data, so that the driver can rebuild them without unpickling.

Values that can be written as data keep type and value. Kinds of `TaggedValue`:

=============  ====================================================================
bytes          the bytes as data
text           a str that UTF-8 cannot encode, encoded with ``surrogatepass`` as data
number         kind and text of a `TypedNumber`
list, tuple,   the items
set, frozenset
dict, bunch    keys and values in turn
array          dtype and shape, with the bytes in C order as data
dtype, path    the text
class          the fields of a `ClassName`
exception      its index among the records
other          class, ``repr`` and ``str`` of any other object
=============  ====================================================================
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

import cloudpickle
import numpy as np
from sklearn.utils import Bunch

from skygrid.worker.limits import EXCEPTION_ROOM
from skygrid.worker.wire.messages.exceptions import (
    MOST_EXCEPTIONS,
    ClassName,
    ExceptionRecord,
    PlainValue,
    TaggedValue,
)
from skygrid.worker.wire.messages.results import MOST_DIGITS, TypedNumber
from skygrid.worker.wire.scores import NUMERIC_DTYPES, number_to_wire

TEXT_LIMIT = 50_000
"""Most characters kept of a long text."""

VALUE_ROOM = 32
"""Part of `EXCEPTION_ROOM` that each value takes in addition to its text."""

SHORT_TEXT = 200
"""Characters kept of a text when `EXCEPTION_ROOM` is used up."""

MOST_DEPTH = 20
"""Deepest nesting of containers."""

_OUTLINE = reprlib.Repr()
_OUTLINE.maxlevel = 2
"""Deepest nesting in the ``repr`` of a container. Each level multiplies its cost by six: a list
that contains itself would take a tenth of a second."""

_GROUP_MEMBERS = vars(BaseExceptionGroup)["exceptions"]


def records_of(error: BaseException) -> tuple[ExceptionRecord, ...]:
    """Describe an exception and all exceptions that it refers to.

    Returns
    -------
    records : tuple of ExceptionRecord
        The exception's own first; at most `MOST_EXCEPTIONS`.
    """
    return _Writer().write(error)


def slots_of(kind: type[BaseException]) -> dict[str, MemberDescriptorType | GetSetDescriptorType]:
    """Return the slots of a class in which exceptions hold values outside of ``__dict__``.

    Built-in exceptions (``errno``) and classes with ``__slots__`` have slots. Access through the
    descriptor runs no code of the class. Slots that a record has its own fields for are left out.
    """
    return {
        name: slot
        for base in reversed(kind.__mro__)
        for name, slot in vars(base).items()
        if isinstance(slot, MemberDescriptorType | GetSetDescriptorType)
        and not name.startswith("__")
        and name not in {"args", "exceptions"}
    }


def shortened(text: str, most: int) -> str:
    """Cut a long text in the middle: the end of a traceback names the error."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


class _Writer:
    def __init__(self) -> None:
        self._met: list[BaseException] = []
        self._numbers: dict[int, int] = {}
        self._room = EXCEPTION_ROOM

    def write(self, error: BaseException) -> tuple[ExceptionRecord, ...]:
        self._number(error)
        # The list grows during iteration: the records of the outer exceptions come first.
        return tuple(self._record(one) for one in self._met)

    def _number(self, error: BaseException | None) -> int | None:
        """Return the index of an exception's record; None without one or beyond the limit."""
        if error is None:
            return None
        if id(error) not in self._numbers:
            if len(self._met) == MOST_EXCEPTIONS:
                return None
            self._numbers[id(error)] = len(self._met)
            self._met.append(error)
        return self._numbers[id(error)]

    def _record(self, error: BaseException) -> ExceptionRecord:
        kind = type(error)
        members = _GROUP_MEMBERS.__get__(error) if isinstance(error, BaseExceptionGroup) else ()
        return ExceptionRecord(
            classes=tuple(_name(base) for base in kind.__mro__ if issubclass(base, BaseException)),
            text=self._text(text_or_none(str, error)),
            args=self._values(_own(error, "args")),
            fields=self._named(_filled_slots(error)),
            attributes=self._named(_own(error, "__dict__")),
            members=tuple(-1 if n is None else n for n in map(self._number, members)),
            cause=self._number(_own(error, "__cause__")),
            context=self._number(_own(error, "__context__")),
            suppress_context=bool(_own(error, "__suppress_context__")),
        )

    def _named(self, values: Mapping[Any, Any]) -> dict[str, PlainValue]:
        if not self._fits(len(values)):
            return {}
        return {
            name: self._value(value)
            for name, value in values.items()
            if isinstance(name, str) and name.isidentifier()
        }

    def _values(self, values: Iterable[Any], depth: int = 0) -> tuple[PlainValue, ...]:
        return tuple(self._value(value, depth) for value in values)

    def _fits(self, count: int) -> bool:
        return count * VALUE_ROOM <= self._room

    def _value(self, value: Any, depth: int = 0) -> PlainValue:
        self._room -= VALUE_ROOM
        if value is None or type(value) in {bool, float}:
            return value  # type: ignore[no-any-return]  # narrowed by the exact type
        if type(value) is int and -(2**63) <= value < 2**64:  # range of MessagePack's integers
            return value
        write = _WRITERS.get(type(value))
        written = write(self, value, depth) if write else self._of_some_kind(value)
        return self._other(value) if written is None else written

    def _of_some_kind(self, value: Any) -> TaggedValue | None:
        """Write a value according to its base class; None if it cannot be written."""
        if isinstance(value, BaseException):
            number = self._number(value)
            return None if number is None else TaggedValue("exception", (number,))
        if isinstance(value, type):
            name = _name(value)
            return TaggedValue("class", (name.module, name.qualified, name.tracked, name.place))
        if isinstance(value, np.generic) and value.dtype.kind in NUMERIC_DTYPES:
            return self._write_number(value)
        if isinstance(value, np.dtype) and value.kind in NUMERIC_DTYPES:
            return TaggedValue("dtype", (value.str,))
        return None

    def _other(self, value: Any) -> TaggedValue:
        name = _name(type(value))
        said = [text_or_none(write, value) or "" for write in (_OUTLINE.repr, str)]
        if not isinstance(value, list | tuple | dict | set | frozenset | bytes):
            said[0] = text_or_none(repr, value) or ""
        return TaggedValue("other", (f"{name.module}.{name.qualified}", *map(self._text, said)))

    def _text(self, text: str | None) -> PlainValue:
        if text is None:
            return None
        if len(text) > max(SHORT_TEXT, self._room):
            text = shortened(text, max(SHORT_TEXT, min(TEXT_LIMIT, self._room)))
        self._room -= len(text)
        try:
            text.encode()
        except UnicodeEncodeError:
            return TaggedValue("text", data=text.encode("utf-8", "surrogatepass"))
        return text

    # -- exact types; each method returns None if a value takes too much room

    def _write_text(self, value: str, depth: int) -> PlainValue:
        return self._text(value)

    def _write_bytes(self, value: bytes, depth: int) -> TaggedValue | None:
        if len(value) > self._room:
            return None
        self._room -= len(value)
        return TaggedValue("bytes", data=value)

    def _write_number(self, value: Any, depth: int = 0) -> TaggedValue | None:
        number = number_to_wire(value)
        if not isinstance(number, TypedNumber) or len(number.text) > min(self._room, MOST_DIGITS):
            return None
        self._room -= len(number.text)
        return TaggedValue("number", (number.kind, number.text))

    def _write_items(self, value: Any, depth: int) -> TaggedValue | None:
        if depth == MOST_DEPTH or not self._fits(len(value)):
            return None
        return TaggedValue(type(value).__name__, self._values(value, depth + 1))

    def _write_pairs(self, value: Any, depth: int) -> TaggedValue | None:
        if depth == MOST_DEPTH or not self._fits(2 * len(value)):
            return None
        pairs = [part for pair in value.items() for part in pair]
        return TaggedValue(type(value).__name__.lower(), self._values(pairs, depth + 1))

    def _write_array(self, value: Any, depth: int) -> TaggedValue | None:
        if value.dtype.kind not in NUMERIC_DTYPES or value.nbytes > self._room:
            return None
        self._room -= value.nbytes
        return TaggedValue("array", (value.dtype.str, self._value(value.shape)), value.tobytes())

    def _write_path(self, value: Path, depth: int) -> TaggedValue:
        return TaggedValue("path", (self._text(str(value)),))


_WRITERS: dict[type, Callable[[_Writer, Any, int], PlainValue]] = {
    str: _Writer._write_text,
    bytes: _Writer._write_bytes,
    **dict.fromkeys((int, complex, Decimal, Fraction), _Writer._write_number),
    **dict.fromkeys((list, tuple, set, frozenset), _Writer._write_items),
    **dict.fromkeys((dict, Bunch), _Writer._write_pairs),
    np.ndarray: _Writer._write_array,
    type(Path()): _Writer._write_path,
}


def _name(kind: type) -> ClassName:
    trackers = getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {})
    tracked = trackers.get(kind, "")
    place = "" if tracked else _place(kind)
    return ClassName(str(kind.__module__), kind.__qualname__, tracked, place)


def _place(kind: type) -> str:
    """Return the path of a class in its module, empty if that is its qualified name, or none is."""
    # Read no attributes: lazy modules may import or raise.
    names: Mapping[str, Any] = getattr(sys.modules.get(kind.__module__), "__dict__", {})
    found: Any = None
    inner: Any = names
    for part in kind.__qualname__.split("."):
        found = inner.get(part)
        inner = vars(found) if isinstance(found, type) else {}
    if found is kind:
        return ""
    for name, value in list(names.items()):
        if value is kind:
            return name
        if isinstance(value, type) and value.__module__ == kind.__module__:
            paths = (f"{name}.{part}" for part, one in list(vars(value).items()) if one is kind)
            if path := next(paths, None):
                return path
    return ""


def _own(error: BaseException, name: str) -> Any:
    """Return an attribute of `BaseException`, even if the exception's class overrides it."""
    return vars(BaseException)[name].__get__(error)


def _filled_slots(error: BaseException) -> dict[str, Any]:
    filled = {}
    for name, slot in slots_of(type(error)).items():
        with suppress(AttributeError):  # never set
            filled[name] = slot.__get__(error)
        # In slots of built-in exceptions None means unset; setting it would change their text.
        if filled.get(name, error) is None and slot.__objclass__.__module__ == "builtins":
            del filled[name]
    return filled


def text_or_none(write: Callable[[Any], str], value: Any) -> str | None:
    """Return the result of ``str`` or ``repr``; None if it raises."""
    try:
        text = write(value)
    except Exception:  # noqa: BLE001 (user code may raise anything)
        return None
    return text if type(text) is str else str.__str__(text)
