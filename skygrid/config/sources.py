"""Where settings come from: a TOML file, the environment, the options of a command.

Every source gives `Given` values by the setting's name; that of a setting in a table carries the
table's: ``ssh.hosts``.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skygrid.errors import ConfigError

from .records import TABLES
from .values import Given, settings_of

FORMAT = 1
"""Version of the config file."""

FILE_NAME = "skygrid.toml"
PREFIX = "SKYGRID_"

NOT_YET = ("max_cost", "yes")
"""Settings that are planned; to ignore one silently could cost money."""


def find_file(
    environment: Mapping[str, str], search_file: Path | None, config_file: Path | None, cwd: Path
) -> Path | None:
    """The config file of a command: the one that is named, or the first ``skygrid.toml``."""
    named = config_file or environment.get(PREFIX + "CONFIG") or None
    if named is not None:
        return cwd / named
    folders = [cwd] if search_file is None else [(cwd / search_file).parent, cwd]
    found = (folder / FILE_NAME for folder in folders if (folder / FILE_NAME).is_file())
    return next(found, None)


def from_file(path: Path | None) -> dict[str, Given]:
    """The settings of a config file."""
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
    return _flat(content, str(path), path.parent)


def from_record(recorded: Mapping[str, Any]) -> dict[str, Given]:
    """The settings that a run was started with, from its own record."""
    return {
        name: given
        for name, given in _flat(recorded, "the run's own record", None).items()
        if given.value is not None
    }


def from_options(options: Mapping[str, Any]) -> dict[str, Given]:
    """The options that were given; None means that one was not."""
    return {
        name: Given(value, f"--{name.replace('_', '-')}")
        for name, value in options.items()
        if value is not None
    }


def from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    """The settings among the variables of an environment; tables have none."""
    given = {}
    variables = {PREFIX + name.upper(): name for name in settings_of(None)}
    for variable, text in environment.items():
        if variable in variables:
            if text.strip():
                given[variables[variable]] = Given(text.strip(), variable, textual=True)
        elif variable.startswith(PREFIX) and variable != PREFIX + "CONFIG":
            _refuse_not_yet(variable.removeprefix(PREFIX).lower(), "the environment")
            # Some other program may use the prefix too; only what looks like a slip is one.
            near = difflib.get_close_matches(variable, variables, n=1, cutoff=0.9)
            if near:
                raise ConfigError(
                    f"{variable} in the environment is no setting; did you mean {near[0]}?"
                )
    return given


def _flat(content: Mapping[str, Any], where: str, folder: Path | None) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for name, value in content.items():
        if name not in TABLES:
            found[_known(None, name, where)] = Given(value, f"{name} in {where}", folder=folder)
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} in {where} must be a table: write [{name}] above its keys")
        for key, inner in value.items():
            _known(name, key, f"[{name}] of {where}")
            origin = f"{key} under [{name}] in {where}"
            found[f"{name}.{key}"] = Given(inner, origin, folder=folder)
    return found


def _known(table: str | None, name: str, where: str) -> str:
    there = settings_of(table)
    if name in there:
        return name
    _refuse_not_yet(name.replace("-", "_"), where)
    if name.replace("-", "_") in there:
        raise ConfigError(f"unknown key {name} in {where}; did you mean {name.replace('-', '_')}?")
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(there)}"
    raise ConfigError(f"unknown key {name} in {where}; {hint}")


def _refuse_not_yet(name: str, where: str) -> None:
    if name in NOT_YET:
        raise ConfigError(f"{name} in {where}: this version of skygrid has no such setting yet")
