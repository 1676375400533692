"""The place of nodes on a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skygrid.config import RunConfig, limits
from skygrid.environment.settings import EnvironmentConfig
from skygrid.errors import ConfigError
from skygrid.nodes.gateway.checks import refuse_found_address, require_library
from skygrid.nodes.gateway.place import GatewayPlace

if TYPE_CHECKING:
    from skygrid.nodes.gateway.provider import GatewayProvider


class DaskPlace(GatewayPlace):
    """Workers of a Dask cluster, or of one that is started on this machine."""

    title = "a Dask cluster"

    def check(self, config: RunConfig) -> None:
        """Refuse a run without Dask, and settings that Dask has no use for."""
        require_library(config, "distributed", "dask")
        refuse_found_address(config, "dask.address", config.dask.address)
        refuse_found_address(config, "dask.scheduler_file", config.dask.scheduler_file)
        if config.dask.address is not None and config.dask.scheduler_file is not None:
            raise ConfigError(
                f"{config.origin('dask.scheduler_file')} and address name a scheduler: keep one"
            )
        if config.environment != EnvironmentConfig():
            raise ConfigError(
                '[environment] has no effect with on = "dask": install the packages on the workers'
            )

    def gateway_provider(self, config: RunConfig) -> GatewayProvider:
        """Return the provider of the nodes."""
        return _provider(config)


def _provider(config: RunConfig) -> GatewayProvider:
    from skygrid.nodes.gateway.cluster import GatewaySettings
    from skygrid.nodes.gateway.process import Gateway
    from skygrid.nodes.gateway.provider import GatewayProvider

    table = config.dask
    file = None if table.scheduler_file is None else str(table.scheduler_file)
    named = table.address is not None or file is not None
    settings = GatewaySettings(
        place={"address": table.address, "scheduler_file": file},
        nodes=config.nodes or (None if named else 1),
        slots=config.concurrency,
        hash_seed=config.hash_seed,
        connect_seconds=table.connect_timeout,
        start_seconds=table.start_timeout,
        lease_seconds=limits.REMOTE_LEASE,
        folder="",
    )
    return GatewayProvider("dask", Gateway("skygrid.nodes.dask", "Dask", settings), settings)


PLACE = DaskPlace()
