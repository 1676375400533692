"""Rented nodes as plain data."""

from __future__ import annotations

import msgspec

FORMAT = 1
"""Version of the JSON document."""


class RentedNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node, as the provider describes it."""

    run: str
    run_id: str
    node: str
    instance: str
    instance_type: str
    market: str
    region: str
    zone: str
    state: str
    address: str | None
    owner: str
    """User who started it."""

    age_seconds: float
    ends_by: float
    """Seconds since the epoch at which it ends itself in any case."""

    dollars_per_hour: float | None
    dollars: float | None
    """USD so far; None if the price is unknown."""


class NodesView(msgspec.Struct, frozen=True, kw_only=True):
    """All rented nodes."""

    regions: tuple[str, ...]
    """Regions that were searched."""

    nodes: tuple[RentedNode, ...]


def nodes_json(view: NodesView) -> str:
    """Return one JSON document: the fields of `NodesView` and ``format``."""
    document = {"format": FORMAT, **msgspec.to_builtins(view)}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
