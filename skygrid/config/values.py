"""What each setting may be: its type from the record's own annotations, and its range."""

from __future__ import annotations

import functools
import ipaddress
import math
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from skygrid.errors import ConfigError

from .records import TABLES, RunConfig

YES = frozenset({"1", "true", "yes", "on"})
NO = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True)
class Given:
    """A value and where it came from, in words."""

    value: Any
    origin: str
    textual: bool = False
    """True when the value is text that has to be read: from the environment."""

    folder: Path | None = None
    """What a relative path in it is relative to; None: the working directory."""


def settings_of(table: str | None) -> dict[str, tuple[Any, bool]]:
    """The settings of a table, or those outside of all tables (None), with what they may be.

    Returns
    -------
    settings : dict of str to (type, bool)
        By name: the type without None, and whether None is allowed.
    """
    return _hints(RunConfig if table is None else TABLES[table])


def checked_value(table: str | None, name: str, given: Given) -> Any:
    """Read one value as what its setting may be.

    Raises
    ------
    ConfigError
        If it is of another type or out of range; the message says where it stands.
    """
    kind, optional = settings_of(table)[name]
    value = given.value
    if get_origin(kind) is Literal:
        return _choice(value, get_args(kind), given)
    if given.textual and optional and value.lower() == "none":
        return None
    result = _READ[kind](value, given)
    wanted, holds = _RANGES.get(name, ("", lambda _: True))
    if not holds(result):
        raise _wrong(given, wanted)
    return result


_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _matches(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(value) is not None


def _is_network(text: str) -> bool:
    """Whether text is an IPv4 network as EC2 takes it: without bits behind its length."""
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return "/" in text


_RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "nodes": ("at least 1", lambda value: value >= 1),
    "min_nodes": ("at least 1", lambda value: value >= 1),
    "concurrency": ("at least 1", lambda value: value >= 1),
    "name": (
        "letters, digits, dots, dashes and underscores, beginning with a letter or digit",
        lambda value: _RUN_NAME.fullmatch(value) is not None,
    ),
    "max_hours": ("hours, more than 0", lambda value: value > 0),
    "max_cost": ("USD, more than 0 and finite", lambda value: 0 < value < math.inf),
    "fit_timeout": ("seconds, more than 0 and finite", lambda value: 0 < value < math.inf),
    "retries": ("0 or more", lambda value: value >= 0),
    "hash_seed": ("0 to 4294967295", lambda value: 0 <= value < 2**32),
    "memory_limit_gb": ("GiB, more than 0 and finite", lambda value: 0 < value < math.inf),
    "verbose": ("0 or more", lambda value: value >= 0),
    "profile": ("the name of a profile", lambda value: bool(value.strip())),
    "region": ("the code of a region, such as eu-central-1", _matches(r"[a-z]{2}(-[a-z]+)+-\d+")),
    "instance_types": (
        "instance types such as c7i.xlarge, each once",
        lambda value: (
            len(set(value)) == len(value) and all(map(_matches(r"[a-z0-9-]+\.[a-z0-9-]+"), value))
        ),
    ),
    "ami": ("the id of an image, ami-...", _matches(r"ami-[0-9a-f]+")),
    "user": ("the name of a user", _matches(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")),
    "zones": (
        "availability zones such as eu-central-1a, each once",
        lambda value: len(set(value)) == len(value),
    ),
    "subnet": ("the id of a subnet, subnet-...", _matches(r"subnet-[0-9a-f]+")),
    "jump": ("a host, as behind ssh -J", lambda value: bool(value.strip())),
    "allow_cidr": (
        "IPv4 addresses such as 203.0.113.0/24",
        _is_network,
    ),
    "address_url": ("an http or https address", _matches(r"https?://\S+")),
    "disk_gb": ("GiB, 8 to 16384", lambda value: 8 <= value <= 16384),
    "bucket": ("the name of a bucket", _matches(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")),
    "bucket_over_gb": ("GiB, 0 or more and finite", lambda value: 0 <= value < math.inf),
    "lease_minutes": ("minutes, more than 0 and at most 1440", lambda value: 0 < value <= 1440),
    "launch_timeout": ("seconds, more than 0 and finite", lambda value: 0 < value < math.inf),
    "price_per_hour": ("USD, 0 or more and finite", lambda value: 0 <= value < math.inf),
    "hosts": ("hosts, each once", lambda value: len(set(value)) == len(value)),
    "folder": ("the path of a folder", lambda value: bool(value.strip()) and "\0" not in value),
    "cache_max_gb": ("GiB, more than 0 and finite", lambda value: 0 < value < math.inf),
    "connect_timeout": ("seconds, more than 0 and finite", lambda value: 0 < value < math.inf),
    "lost_after": ("seconds, more than 0 and finite", lambda value: 0 < value < math.inf),
    "orphan_after": ("seconds, more than 0 and finite", lambda value: 0 < value < math.inf),
}


@functools.cache
def _hints(record: type) -> dict[str, tuple[Any, bool]]:
    return dict(_unwrapped(record))


def _unwrapped(record: type) -> Iterator[tuple[str, tuple[Any, bool]]]:
    for name, hint in get_type_hints(record).items():
        if name in TABLES:
            continue
        kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        kept = tuple(kind for kind in kinds if kind is not type(None))
        # What may be text or a list of texts keeps both.
        yield name, (kept[0] if len(kept) == 1 else kept, type(None) in kinds)


def _choice(value: Any, choices: tuple[str, ...], given: Given) -> str:
    if value in choices:
        return str(value)
    raise _wrong(given, f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0])


def _integer(value: Any, given: Given) -> int:
    if given.textual:
        try:
            return int(value)
        except ValueError:
            raise _wrong(given, "a whole number") from None
    if type(value) is int:
        return value
    raise _wrong(given, "a whole number")


def _number(value: Any, given: Given) -> float:
    try:
        # JSON has no infinity, so the run's own record says "inf", as the environment may.
        number = float(value) if type(value) in (int, float) or _is_text(value, given) else math.nan
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise _wrong(given, "a number")
    return number


def _is_text(value: Any, given: Given) -> bool:
    return isinstance(value, str) and (given.textual or value == "inf")


def _flag(value: Any, given: Given) -> bool:
    if type(value) is bool:
        return value
    if given.textual and value.lower() in YES | NO:
        return value.lower() in YES
    raise _wrong(given, "true or false")


def _text(value: Any, given: Given) -> str:
    if isinstance(value, str):
        return value
    raise _wrong(given, "text")


def _texts(value: Any, given: Given) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value):
        return tuple(value)
    raise _wrong(given, 'a list of texts: ["...", "..."]')


def _packages(value: Any, given: Given) -> str | tuple[str, ...]:
    if isinstance(value, list | tuple):
        return _texts(value, given)
    if value == "auto" or not isinstance(value, str) or not value:
        return _text(value, given)
    return str(_path(value, given))


def _path(value: Any, given: Given) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise _wrong(given, "a path")
    path = Path(value).expanduser()
    return path if given.folder is None else given.folder / path


def _wrong(given: Given, wanted: str) -> ConfigError:
    return ConfigError(f"{given.origin} is {given.value!r}; it must be {wanted}")


_READ: dict[Any, Callable[[Any, Given], Any]] = {
    int: _integer,
    float: _number,
    bool: _flag,
    str: _text,
    Path: _path,
    tuple[str, ...]: _texts,
    (str, tuple[str, ...]): _packages,
}
