"""Merges the settings of a run.

Precedence, strongest first: option, environment (``SKYGRID_NODES`` and so on), config file,
default.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .records import NO_SETTINGS, NOT_RECORDED, ON_WITH_NODES, TABLES, RunConfig
from .sources import PREFIX, find_file, from_environment, from_file, from_options, from_record
from .values import Given, checked_value


def load_config(
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    search_file: Path | None = None,
    config_file: Path | None = None,
    cwd: Path,
) -> RunConfig:
    """Merge all settings of a run.

    Parameters
    ----------
    options : mapping of str to object
        Values by field name of `RunConfig`; None for options that were not given.
    environment : mapping of str to str
        ``os.environ`` or the like; empty values count as not set.
    search_file, cwd : Path
        A ``skygrid.toml`` beside the first is read, otherwise one in the second.
    config_file : Path, optional
        Read instead; must exist. ``SKYGRID_CONFIG`` does the same.

    Raises
    ------
    ConfigError
        The message names the setting's place and the remedy.
    """
    file = find_file(environment, search_file, config_file, cwd)
    named = config_file is not None or bool(environment.get(PREFIX + "CONFIG"))
    given = from_file(file)
    given |= from_environment(environment)
    given |= from_options(options)
    if "nodes" in given and "on" not in given:
        given["on"] = Given(ON_WITH_NODES, f"{given['nodes'].origin} without a place")
    base = RunConfig(found_file=None if named else file)
    return _with(base, given)


def resume_config(
    recorded: Mapping[str, Any], options: Mapping[str, Any], config_file: Path | None = None
) -> RunConfig:
    """Return the configuration of a resumed run: as recorded, except for the settings given now.

    Parameters
    ----------
    recorded : mapping of str to object
        The result of `config_to_json`.
    options : mapping of str to object
        As for `load_config`.
    config_file : Path, optional
        A file whose settings replace the recorded ones.

    Raises
    ------
    ConfigError
        An option is wrong, or a later version of skygrid recorded an unknown setting.
    """
    before = from_record(recorded)
    now = {**from_file(config_file), **from_options(options)}
    return _with(_with(RunConfig(), before), now)


def config_to_json(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain data for ``run.json``, without display settings."""
    return _plain_fields(config)


def _plain_fields(record: Any) -> dict[str, Any]:
    return {
        field.name: _plain(getattr(record, field.name))
        for field in dataclasses.fields(record)
        if field.name not in {*NOT_RECORDED, *NO_SETTINGS}
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, float) and math.isinf(value):
        return "inf"  # JSON has no infinity
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _with(base: RunConfig, given: Mapping[str, Given]) -> RunConfig:
    """Return the configuration with these settings replaced."""
    changes: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
    for name, one in given.items():
        table, _, key = name.rpartition(".")
        place = inner[table] if table else changes
        place[key] = checked_value(table or None, key, one)
    for table, values in inner.items():
        if values:
            changes[table] = replace(getattr(base, table), **values)
    origins = {name: one.origin for name, one in given.items()}
    return replace(base, **changes, origins={**base.origins, **origins})
