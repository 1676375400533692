"""Exceptions as data."""

from __future__ import annotations

import msgspec


class TaggedValue(msgspec.Struct, frozen=True, array_like=True):
    """A value of a type that MessagePack lacks; `exception_records` lists the kinds."""

    kind: str
    parts: tuple[PlainValue, ...] = ()
    data: bytes = b""


PlainValue = None | bool | int | float | str | TaggedValue
"""A value in an exception, as data: reading it runs no code from a node."""

MOST_EXCEPTIONS = 100
"""Most exceptions in one result: causes, contexts, members of groups."""


class ClassName(msgspec.Struct, frozen=True, array_like=True):
    """Name of a class."""

    module: str
    qualified: str
    tracked: str = ""
    """Cloudpickle's identifier of a class that the driver sent by value."""

    place: str = ""
    """Path of the class from its module, if its qualified name does not lead to it: a function may
    have made the class."""


class ExceptionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exception as data. It refers to other exceptions of its result by their index."""

    classes: tuple[ClassName, ...]
    """Its class and that class's bases that are exceptions, in method resolution order."""

    text: PlainValue = None
    """Result of ``str``; None if that raises."""

    args: tuple[PlainValue, ...] = ()
    fields: dict[str, PlainValue] = {}
    """Values of the slots of its classes: ``errno``, ``start``, ..."""

    attributes: dict[str, PlainValue] = {}
    """Content of its ``__dict__``, including ``__notes__``."""

    members: tuple[int, ...] = ()
    """Members of an exception group."""

    cause: int | None = None
    context: int | None = None
    suppress_context: bool = False
