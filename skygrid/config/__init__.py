"""The configuration of a run: file, environment and options merged into one frozen record.

`records` holds every setting with its default and range, `sources` reads settings, `values` checks
them, `merging` merges them.
"""

from __future__ import annotations

from .merging import config_to_json, load_config, resume_config
from .records import (
    AwsConfig,
    CommandConfig,
    DaskConfig,
    Market,
    RayConfig,
    RunConfig,
    SlurmConfig,
    SshConfig,
)
from .sources import environment_variable

__all__ = [
    "AwsConfig",
    "CommandConfig",
    "DaskConfig",
    "Market",
    "RayConfig",
    "RunConfig",
    "SlurmConfig",
    "SshConfig",
    "config_to_json",
    "environment_variable",
    "load_config",
    "resume_config",
]
