"""The ``[environment]`` table of the config file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """What a node's Python environment is made of."""

    python: str | None = None
    """Minor version (``3.12``) or path of an interpreter there; None: the driver's version."""

    packages: str | tuple[str, ...] = "auto"
    """``auto``: the driver's own versions; a list of requirements; or a requirements file."""

    index_url: str | None = None
    """Package index; None: the node's own configuration decides."""

    extra_index_url: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    """Shell commands, run once when the environment is made."""
