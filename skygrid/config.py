"""How a run is to be done: file, environment and options become one frozen record.

Precedence, strongest first: option, environment (``SKYGRID_NODES`` and so on), config file,
default. Every default stands here and nowhere else.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from skygrid.errors import ConfigError

FORMAT = 1
"""Version of the config file."""

FILE_NAME = "skygrid.toml"
PREFIX = "SKYGRID_"

OTHER_PLACES = ("aws", "ssh", "ray", "dask")
"""Values of ``on`` that skygrid knows of and this version cannot do."""

NOT_YET = ("max_cost", "no_sharing", "yes")
"""Settings that are planned; to ignore one silently could cost money."""

YES = frozenset({"1", "true", "yes", "on"})
NO = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides where and how a search runs, but not what it answers."""

    on: Literal["local"] = "local"
    """Where the nodes are."""

    nodes: int | None = None
    """Machines; None: this one."""

    concurrency: int | None = None
    """Fits at a time on each node; None: the node's vCPUs (shared out among local nodes)."""

    name: str | None = None
    """The run's name; None: made up."""

    runs_dir: Path = Path("skygrid-runs")
    max_hours: float = 24.0
    """Hours after which no more fits are started; infinity: no limit."""

    fit_timeout: float | None = None
    """Seconds that one fit may take; None: no limit."""

    retries: int = 2
    """How often a fit that took its slot down is tried again."""

    start_method: Literal["auto", "fork", "spawn"] = "auto"
    """How an agent starts its slots; auto: fork on Linux, spawn elsewhere."""

    memory_limit_gb: float | None = None
    """GiB that all slots of a node may hold together; None: nine tenths of the node."""

    dry_run: bool = False
    """Only make and show the plan."""

    json: bool = False
    """Print results as one JSON document."""

    quiet: bool = False
    """Show no progress."""

    verbose: int = 0
    """How much more than usual is said on stderr."""


@dataclass(frozen=True)
class _Given:
    """A value and where it came from, in words."""

    value: Any
    origin: str
    textual: bool = False
    """True when the value is text that has to be read: from the environment."""

    folder: Path | None = None
    """What a relative path in it is relative to; None: the working directory."""


def load_config(
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    search_file: Path | None = None,
    config_file: Path | None = None,
    cwd: Path,
) -> RunConfig:
    """Merge all that was said about how to run.

    Parameters
    ----------
    options : mapping of str to object
        Values by field name of `RunConfig`; None means that the option was not given.
    environment : mapping of str to str
        ``os.environ`` or the like; empty values count as not set.
    search_file : Path, optional
        A ``skygrid.toml`` beside it is read.
    config_file : Path, optional
        Read instead; it has to be there. ``SKYGRID_CONFIG`` does the same.
    cwd : Path
        A ``skygrid.toml`` here is read when there is none beside the search file.

    Returns
    -------
    config : RunConfig

    Raises
    ------
    ConfigError
        Something is not understood; the message says where it stands and what to write instead.
    """
    given = {**_from_file(_find_file(environment, search_file, config_file, cwd))}
    given |= _from_environment(environment)
    given |= {
        name: _Given(value, f"--{name.replace('_', '-')}")
        for name, value in options.items()
        if value is not None
    }
    return RunConfig(**_checked(given))


def resume_config(recorded: Mapping[str, Any], options: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a resumed run: as recorded, except for the options given now.

    Parameters
    ----------
    recorded : mapping of str to object
        What `config_to_json` returned.
    options : mapping of str to object
        As for `load_config`.

    Raises
    ------
    ConfigError
        An option is wrong, or a later version of skygrid recorded what this one does not know.
    """
    given = {
        _known(name, "the run's own record"): _Given(value, f"{name} in the run's own record")
        for name, value in recorded.items()
        if value is not None
    }
    base = RunConfig(**_checked(given))
    said = {
        name: _Given(value, f"--{name.replace('_', '-')}")
        for name, value in options.items()
        if value is not None
    }
    return replace(base, **_checked(said, resuming=True))


def config_to_json(config: RunConfig) -> dict[str, Any]:
    """Return the configuration in plain data, as ``run.json`` keeps it.

    How results are shown is not part of it: that is for whoever looks.
    """
    return {
        field.name: _plain(getattr(config, field.name))
        for field in fields(config)
        if field.name not in ("dry_run", "json", "quiet", "verbose")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "inf"  # JSON has no number for it
    return str(value) if isinstance(value, Path) else value


# ---- where values come from --------------------------------------------------------------------


def _find_file(
    environment: Mapping[str, str], search_file: Path | None, config_file: Path | None, cwd: Path
) -> Path | None:
    named = config_file or environment.get(PREFIX + "CONFIG") or None
    if named is not None:
        return cwd / named
    folders = [cwd] if search_file is None else [(cwd / search_file).parent, cwd]
    found = (folder / FILE_NAME for folder in folders if (folder / FILE_NAME).is_file())
    return next(found, None)


def _from_file(path: Path | None) -> dict[str, _Given]:
    if path is None:
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    version = content.pop("version", FORMAT)
    if version != FORMAT or isinstance(version, bool):
        raise ConfigError(f"version in {path} is {version!r}; this skygrid reads version {FORMAT}")
    return {
        _known(name, str(path)): _Given(value, f"{name} in {path}", folder=path.parent)
        for name, value in content.items()
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    given = {}
    variables = {PREFIX + name.upper(): name for name in _hints()}
    for variable, text in environment.items():
        if variable in variables:
            if text.strip():
                given[variables[variable]] = _Given(text.strip(), variable, textual=True)
        elif variable.startswith(PREFIX) and variable != PREFIX + "CONFIG":
            _refuse_not_yet(variable.removeprefix(PREFIX).lower(), "the environment")
            # Some other program may use the prefix too; only what looks like a slip is one.
            near = difflib.get_close_matches(variable, variables, n=1, cutoff=0.9)
            if near:
                raise ConfigError(
                    f"{variable} in the environment is no setting; did you mean {near[0]}?"
                )
    return given


def _known(name: str, where: str) -> str:
    if name in _hints():
        return name
    _refuse_not_yet(name.replace("-", "_"), where)
    if name.replace("-", "_") in _hints():
        raise ConfigError(f"unknown key {name} in {where}; did you mean {name.replace('-', '_')}?")
    near = difflib.get_close_matches(name, _hints(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(_hints())}"
    raise ConfigError(f"unknown key {name} in {where}; {hint}")


def _refuse_not_yet(name: str, where: str) -> None:
    if name in NOT_YET:
        raise ConfigError(f"{name} in {where}: this version of skygrid has no such setting yet")


# ---- what values may be ------------------------------------------------------------------------


def _checked(given: Mapping[str, _Given], *, resuming: bool = False) -> dict[str, Any]:
    _check_place(given, resuming=resuming)
    return {name: _value(name, one) for name, one in given.items()}


def _check_place(given: Mapping[str, _Given], *, resuming: bool) -> None:
    """Refuse every place but this machine: a run must never end up elsewhere than was meant."""
    on, nodes = given.get("on"), given.get("nodes")
    if on is not None and on.value in OTHER_PLACES:
        raise ConfigError(
            f"{on.origin} asks for {on.value}, and this version of skygrid runs on this machine "
            "only: use local."
        )
    if on is None and nodes is not None and not resuming:
        raise ConfigError(
            f"{nodes.origin} without a place means nodes on AWS, and this version of skygrid runs "
            'on this machine only: add --on local (or on = "local") to rehearse the nodes here.'
        )


def _value(name: str, given: _Given) -> Any:
    kind, optional = _hints()[name]
    value = given.value
    if get_origin(kind) is Literal:
        return _choice(value, get_args(kind), given)
    if given.textual and optional and value.lower() == "none":
        return None
    if kind is Path:
        return _path(value, given)
    read = {int: _integer, float: _number, bool: _flag, str: _text}[kind]
    result = read(value, given)
    wanted, holds = _RANGES.get(name, ("", lambda _: True))
    if not holds(result):
        raise _wrong(given, wanted)
    return result


_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "nodes": ("at least 1", lambda value: value >= 1),
    "concurrency": ("at least 1", lambda value: value >= 1),
    "name": (
        "letters, digits, dots, dashes and underscores, beginning with a letter or digit",
        lambda value: _RUN_NAME.fullmatch(value) is not None,
    ),
    "max_hours": ("hours, more than 0", lambda value: value > 0),
    "fit_timeout": ("seconds, more than 0 and finite", lambda value: 0 < value < math.inf),
    "retries": ("0 or more", lambda value: value >= 0),
    "memory_limit_gb": ("GiB, more than 0 and finite", lambda value: 0 < value < math.inf),
    "verbose": ("0 or more", lambda value: value >= 0),
}


@functools.cache
def _hints() -> dict[str, tuple[Any, bool]]:
    """Return for each field its type without None, and whether it may be None."""
    return dict(_unwrapped())


def _unwrapped() -> Iterator[tuple[str, tuple[Any, bool]]]:
    for name, hint in get_type_hints(RunConfig).items():
        if get_origin(hint) in (Union, types.UnionType):
            (kind,) = [one for one in get_args(hint) if one is not type(None)]
            yield name, (kind, True)
        else:
            yield name, (hint, False)


def _choice(value: Any, choices: tuple[str, ...], given: _Given) -> str:
    if value in choices:
        return str(value)
    raise _wrong(given, f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0])


def _integer(value: Any, given: _Given) -> int:
    if given.textual:
        try:
            return int(value)
        except ValueError:
            raise _wrong(given, "a whole number") from None
    if type(value) is int:
        return value
    raise _wrong(given, "a whole number")


def _number(value: Any, given: _Given) -> float:
    try:
        # JSON has no infinity, so the run's own record says "inf", as the environment may.
        number = float(value) if type(value) in (int, float) or _is_text(value, given) else math.nan
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise _wrong(given, "a number")
    return number


def _is_text(value: Any, given: _Given) -> bool:
    return isinstance(value, str) and (given.textual or value == "inf")


def _flag(value: Any, given: _Given) -> bool:
    if type(value) is bool:
        return value
    if given.textual and value.lower() in YES | NO:
        return value.lower() in YES
    raise _wrong(given, "true or false")


def _text(value: Any, given: _Given) -> str:
    if isinstance(value, str):
        return value
    raise _wrong(given, "text")


def _path(value: Any, given: _Given) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise _wrong(given, "a path")
    path = Path(value).expanduser()
    return path if given.folder is None else given.folder / path


def _wrong(given: _Given, wanted: str) -> ConfigError:
    return ConfigError(f"{given.origin} is {given.value!r}; it must be {wanted}")
