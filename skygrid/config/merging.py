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

from skygrid.errors import ConfigError

from .records import NOT_RECORDED, TABLES, RunConfig
from .sources import find_file, from_environment, from_file, from_options, from_record
from .values import Given, checked_value

OTHER_PLACES = ("ray", "dask")
"""Values of ``on`` that this version does not support yet."""


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
    given = from_file(find_file(environment, search_file, config_file, cwd))
    given |= from_environment(environment)
    given |= from_options(options)
    _check_place(given)
    if "nodes" in given and "on" not in given:
        given["on"] = Given("aws", f"{given['nodes'].origin} without a place")
    return _with(RunConfig(), given)


def resume_config(recorded: Mapping[str, Any], options: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a resumed run: as recorded, except for the options given now.

    Parameters
    ----------
    recorded : mapping of str to object
        The result of `config_to_json`.
    options : mapping of str to object
        As for `load_config`.

    Raises
    ------
    ConfigError
        An option is wrong, or a later version of skygrid recorded an unknown setting.
    """
    before = from_record(recorded)
    now = from_options(options)
    _check_place(before | now)
    return _with(_with(RunConfig(), before), now)


def config_to_json(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain data for ``run.json``, without display settings."""
    return _plain_fields(config)


def _plain_fields(record: Any) -> dict[str, Any]:
    return {
        field.name: _plain(getattr(record, field.name))
        for field in dataclasses.fields(record)
        if field.name not in NOT_RECORDED
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
    config = replace(base, **changes)
    _check_together(config, given)
    return config


def _check_place(given: Mapping[str, Given]) -> None:
    """Refuse places that are not supported: a run must never use another place silently."""
    on = given.get("on")
    if on is not None and on.value in OTHER_PLACES:
        raise ConfigError(
            f"{on.origin} asks for {on.value}, which this version of skygrid cannot do: use local, "
            "ssh for hosts that you have, or aws."
        )


def _check_together(config: RunConfig, given: Mapping[str, Given]) -> None:
    """Refuse settings that are valid alone and contradict each other."""
    if not config.aws.public_ip and config.aws.allow_cidr is None:
        raise ConfigError(
            "public_ip = false under [aws] needs allow_cidr beside it: the private addresses from "
            'which nodes are reached, such as those of the jump host, "10.0.0.0/16"'
        )
    hosts = config.ssh.hosts
    if config.on == "ssh" and not hosts:
        origin = given["on"].origin if "on" in given else 'on = "ssh"'
        raise ConfigError(
            f"{origin} needs hosts: write hosts = [...] under [ssh] in a config "
            "file and name it with --config"
        )
    nodes = config.nodes or (len(hosts) if config.on == "ssh" else 1)
    if config.on == "ssh" and nodes > len(hosts):
        origin = given["nodes"].origin if "nodes" in given else "nodes"
        raise ConfigError(
            f"{origin} is {nodes}, and [ssh] hosts names {len(hosts)}: add hosts or take fewer"
        )
    if config.min_nodes is not None and config.min_nodes > nodes:
        origin = given["min_nodes"].origin if "min_nodes" in given else "min_nodes"
        raise ConfigError(f"{origin} is {config.min_nodes}, more than the {nodes} nodes of the run")
