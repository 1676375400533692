"""The place of nodes on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skygrid.config import RunConfig, limits
from skygrid.errors import ConfigError
from skygrid.nodes.gateway.checks import refuse_found_address, require_library
from skygrid.nodes.gateway.place import GatewayPlace

if TYPE_CHECKING:
    from skygrid.nodes.gateway.provider import GatewayProvider


class RayPlace(GatewayPlace):
    """Actors of a Ray cluster, or of a Ray that is started on this machine."""

    title = "a Ray cluster"

    def check(self, config: RunConfig) -> None:
        """Refuse a run without Ray, and settings that Ray has no use for."""
        require_library(config, "ray", "ray")
        refuse_found_address(config, "ray.address", config.ray.address)
        if "CPU" in config.ray.resources:
            raise ConfigError(
                f"{config.origin('ray.resources')} has CPU: set concurrency, the CPUs of each node"
            )
        for name in ("python", "setup"):
            if getattr(config.environment, name):
                origin = config.origin(f"environment.{name}")
                raise ConfigError(f'{origin} has no effect with on = "ray": use packages')

        packages = config.environment.packages
        if isinstance(packages, str) and packages != "auto":
            path = Path(packages)
            if path.suffix == ".toml" or not path.is_file():
                raise ConfigError(
                    f"{config.origin('environment.packages')} is {packages}, no requirements file: "
                    'with on = "ray" it is one, or a list of requirements'
                )

    def gateway_provider(self, config: RunConfig) -> GatewayProvider:
        """Return the provider of the nodes."""
        return _provider(config)


def _provider(config: RunConfig) -> GatewayProvider:
    import dataclasses

    from skygrid.nodes.gateway.cluster import GatewaySettings
    from skygrid.nodes.gateway.process import Gateway
    from skygrid.nodes.gateway.provider import GatewayProvider
    from skygrid.nodes.ray.requests import runtime_env

    settings = GatewaySettings(
        place=dataclasses.asdict(config.ray),
        nodes=config.nodes or (None if config.ray.address else 1),
        slots=config.concurrency,
        hash_seed=config.hash_seed,
        connect_seconds=config.ray.connect_timeout,
        start_seconds=config.ray.start_timeout,
        lease_seconds=limits.REMOTE_LEASE,
        folder="",
        environment=runtime_env(config.environment),
    )
    return GatewayProvider("ray", Gateway("skygrid.nodes.ray", "Ray", settings), settings)


PLACE = RayPlace()
