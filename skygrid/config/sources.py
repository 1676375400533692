"""Sources of settings: a TOML file, the environment, the options of a command.

Each source gives `Given` values by name; settings of a table are prefixed: ``ssh.hosts``.
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


def find_file(
    environment: Mapping[str, str], search_file: Path | None, config_file: Path | None, cwd: Path
) -> Path | None:
    """Return the config file of a command: the named one, or the first ``skygrid.toml``."""
    named = config_file or environment.get(PREFIX + "CONFIG") or None
    if named is not None:
        return cwd / named
    folders = [cwd] if search_file is None else [(cwd / search_file).parent, cwd]
    found = (folder / FILE_NAME for folder in folders if (folder / FILE_NAME).is_file())
    return next(found, None)


def from_file(path: Path | None) -> dict[str, Given]:
    """Return the settings of a config file."""
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
    """Return the settings in a run's record."""
    return {
        name: given
        for name, given in _flat(recorded, "the run's own record", None).items()
        if given.value is not None
    }


def from_options(options: Mapping[str, Any]) -> dict[str, Given]:
    """Return the options that are not None."""
    return {
        name: Given(value, f"--{name.replace('_', '-')}")
        for name, value in options.items()
        if value is not None
    }


def environment_variable(name: str) -> str | None:
    """Return the environment variable of a setting; None for a name that is no setting."""
    known = name in settings_of(None) or name == "config"
    return PREFIX + name.upper() if known else None


def from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    """Return the settings among environment variables; settings of tables have none."""
    given = {}
    variables = {PREFIX + name.upper(): name for name in settings_of(None)}
    for variable, text in environment.items():
        if variable in variables:
            if text.strip():
                given[variables[variable]] = Given(text.strip(), variable, textual=True)
        elif variable.startswith(PREFIX) and variable != PREFIX + "CONFIG":
            # Other programs may use the prefix too, so only near misses are errors.
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
    if name.replace("-", "_") in there:
        raise ConfigError(f"unknown key {name} in {where}; did you mean {name.replace('-', '_')}?")
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(there)}"
    raise ConfigError(f"unknown key {name} in {where}; {hint}")
