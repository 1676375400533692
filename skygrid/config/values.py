"""Conversion of setting values by the types of the records."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from skygrid.environment.credentials import masked
from skygrid.errors import ConfigError
from skygrid.util.home_folders import expand_home

from .records import NO_SETTINGS, TABLES, RunConfig

SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}
"""Words for true and false in the environment, in addition to msgspec's."""

KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    tuple: 'a list of texts: ["...", "..."]',
    Mapping: "a table of names and positive numbers: { name = 1 }",
}


@dataclass(frozen=True)
class Given:
    """A value and the name of its origin for messages."""

    value: Any
    origin: str
    textual: bool = False
    """True if the value is a string to convert, from the environment."""

    folder: Path | None = None
    """Base of a relative path in it; None: the working directory."""


def settings_of(table: str | None) -> list[str]:
    """Return the names of a table's settings, or of those outside all tables (None)."""
    record = RunConfig if table is None else TABLES[table]
    others = {*TABLES, *NO_SETTINGS}
    return [one.name for one in dataclasses.fields(record) if one.name not in others]


def checked_value(table: str | None, name: str, given: Given) -> Any:
    """Convert a value to its setting's type.

    Raises
    ------
    ConfigError
        The value has another type or is out of range; the message gives its origin.
    """
    record = RunConfig if table is None else TABLES[table]
    kind, ranged = _types(record, extras=False)[name], _types(record, extras=True)[name]
    plain = _converted(kind, given, _kind_text(kind))
    metas = list(_metas(ranged))
    wanted = next((one.description for one in metas if one.description), None) or _kind_text(kind)
    value = _converted(ranged, given, wanted)
    if value is not None and not all(one.extra["holds"](value) for one in metas if one.extra):
        raise _wrong(given, wanted)
    # The path of a requirements file is relative to the config file, like other paths.
    if name == "packages" and isinstance(plain, str) and plain not in ("auto", ""):
        return str(_path(Path, plain, given))
    return value


@functools.cache
def _types(record: type, *, extras: bool) -> dict[str, Any]:
    return get_type_hints(record, include_extras=extras)


def _metas(kind: Any) -> Iterator[msgspec.Meta]:
    """Yield the ranges of a type itself, not of its members."""
    for one in (kind, *(get_args(kind) if _is_union(kind) else ())):
        if get_origin(one) is Annotated:
            yield from (meta for meta in one.__metadata__ if isinstance(meta, msgspec.Meta))


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _kind_text(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    members = get_args(kind) if _is_union(kind) else (kind,)
    return " or ".join(KINDS[get_origin(one) or one] for one in members if one is not type(None))


def _converted(kind: Any, given: Given, wanted: str) -> Any:
    value, textual = given.value, given.textual
    if textual:
        if value.lower() == "none" and type(None) in get_args(kind):
            return None
        value = SWITCHES.get(value.lower(), value) if kind is bool else value
    # JSON has no infinity: run.json and the environment say "inf".
    strict = not textual and value != "inf"
    try:
        return msgspec.convert(
            value,
            kind,
            strict=strict,
            dec_hook=lambda kind, value: _path(kind, value, given),
        )
    except msgspec.ValidationError:
        raise _wrong(given, wanted) from None


def _path(kind: Any, value: Any, given: Given) -> Path:
    if kind is not Path or not isinstance(value, str | Path) or not str(value):
        raise ValueError
    path = expand_home(value, given.origin)
    return path if given.folder is None else given.folder / path


def _wrong(given: Given, wanted: str) -> ConfigError:
    return ConfigError(f"{given.origin} is {masked(repr(given.value))}; it must be {wanted}")
