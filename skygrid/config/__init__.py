"""How a run is to be done: file, environment and options become one frozen record.

`records` holds every setting with its default and range, `sources` reads where they come from,
`values` checks them, `merging` puts them together.
"""

from __future__ import annotations

from .merging import config_to_json, load_config, resume_config
from .records import AwsConfig, Market, RunConfig, SshConfig

__all__ = [
    "AwsConfig",
    "Market",
    "RunConfig",
    "SshConfig",
    "config_to_json",
    "load_config",
    "resume_config",
]
