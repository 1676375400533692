"""Checks that places behind a gateway share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from skygrid.config import RunConfig
from skygrid.errors import ConfigError, SkygridError
from skygrid.nodes.records import Finding

if TYPE_CHECKING:
    from skygrid.nodes.gateway.provider import GatewayProvider


def require_library(config: RunConfig, module: str, extra: str) -> None:
    """Refuse a run whose library is not installed.

    Raises
    ------
    ConfigError
    """
    if find_spec(module) is None:
        raise ConfigError(
            f"{config.origin('on')} {config.on} needs a library that is not installed: "
            f"pip install 'skygrid[{extra}]'"
        )


def refuse_found_address(config: RunConfig, setting: str, value: object) -> None:
    """Refuse the address of a cluster in a config file that was found, not named with --config.

    The libraries of clusters unpickle all that a cluster sends, which can run any code.

    Raises
    ------
    ConfigError
    """
    if value is not None and config.found_file is not None and setting in config.origins:
        raise ConfigError(
            f"{config.found_file} names a cluster: {value}. If you trust it, name the file "
            f"yourself: --config {config.found_file}"
        )


def examine(provider: GatewayProvider) -> Sequence[Finding]:
    """Start one agent of a provider for the doctor, and end everything."""
    from skygrid.nodes.examination import examine_node

    try:
        return [examine_node(provider)]
    except SkygridError as error:  # the cluster cannot be reached: there is no node to examine
        return [Finding(name="cluster", problems=(str(error),))]
    finally:
        provider.close()
