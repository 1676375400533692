"""The places for nodes, by the names of the setting ``on``."""

from __future__ import annotations

import pkgutil

from skygrid.config import RunConfig
from skygrid.errors import ConfigError
from skygrid.nodes.interface import Place, RentingPlace

PLACES = {
    "local": "skygrid.nodes.local:PLACE",
    "ssh": "skygrid.nodes.ssh.place:PLACE",
    "command": "skygrid.nodes.command.place:PLACE",
    "slurm": "skygrid.nodes.slurm.place:PLACE",
    "ray": "skygrid.nodes.ray.place:PLACE",
    "dask": "skygrid.nodes.dask.place:PLACE",
    "aws": "skygrid.nodes.ec2.place:PLACE",
}
"""Module and variable of each `Place`, which is imported when it is used."""


def place_named(name: str) -> Place:
    """Return the place of this name.

    Raises
    ------
    ConfigError
        If there is no such place.
    """
    if name not in PLACES:
        raise ConfigError(f"there is no place {name!r} for nodes; there are {', '.join(PLACES)}")
    place: Place = pkgutil.resolve_name(PLACES[name])
    return place


def place_of(config: RunConfig) -> Place:
    """Return the place that a configuration names.

    Raises
    ------
    ConfigError
        If there is no such place, or the settings make no sense for it.
    """
    if config.on not in PLACES:
        raise ConfigError(
            f"{config.origin('on')} is {config.on!r}; it must be one of {', '.join(PLACES)}"
        )
    place = place_named(config.on)
    place.check(config)
    nodes = place.nodes(config)
    if config.min_nodes is not None and config.min_nodes > nodes:
        raise ConfigError(
            f"{config.origin('min_nodes')} is {config.min_nodes}, more than the {nodes} nodes of "
            "the run"
        )
    return place


def rentals(config: RunConfig) -> list[RentingPlace]:
    """Return all places that rent nodes, the place of the configuration first."""
    names = sorted(PLACES, key=lambda name: name != config.on)
    return [rental for name in names if (rental := place_named(name).rental) is not None]
