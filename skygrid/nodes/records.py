"""Records that all places share: findings, prices, bills, rented nodes, teardowns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from skygrid.config import limits


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Findings of `skygrid doctor` about a place for nodes, or one part of a place."""

    name: str
    problems: tuple[str, ...] = ()
    """Reasons why a search cannot run there; each says what to do."""

    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Findings that prevent nothing."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes that a run would rent, and their price."""

    nodes: int
    instance_type: str
    """The type that is tried first."""

    other_types: tuple[str, ...] = ()
    """Types that are taken if the first one is unavailable."""

    vcpus: int
    memory_gib: float
    market: str
    region: str
    zones: tuple[str, ...]
    account: str
    image: str
    dollars_per_hour: float | None
    """USD per hour of one node; None: unknown."""

    price_source: str = ""
    max_cost: float | None = None
    """USD after which no fits are started."""

    max_hours: float | None = None
    """Hours after which no fits are started; None: no limit."""

    notes: tuple[str, ...] = ()

    @property
    def dollars_per_hour_in_all(self) -> float | None:
        """USD per hour of all nodes; None: unknown."""
        return None if self.dollars_per_hour is None else self.nodes * self.dollars_per_hour

    def dollars_for(self, seconds: float) -> float | None:
        """Return the USD of a run whose fits take this wall time, including start and teardown."""
        if self.dollars_per_hour_in_all is None:
            return None
        rented = limits.USUAL_START + seconds + limits.USUAL_END
        return self.dollars_per_hour_in_all * rented / 3600

    @property
    def most_dollars(self) -> float | None:
        """Highest cost in USD that the limits allow; None: no limit."""
        bounds = [self.max_cost]
        if self.max_hours is not None:
            bounds.append(self.dollars_for(self.max_hours * 3600))
        known = [bound for bound in bounds if bound is not None]
        return min(known) if known else None


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of the nodes of a run in all its sessions, and the nodes that are left."""

    dollars: float | None
    """USD by the price list, until the nodes were verified to be gone; None: price unknown."""

    instances: int
    """Number of instances, including replacements."""

    left: tuple[str, ...] = ()
    """Instances that are not known to be gone."""

    verified: bool = True
    """True if the provider confirmed at the end that nothing costs money any more."""

    price_source: str = ""


class RentedNode(msgspec.Struct, frozen=True, kw_only=True):
    """One rented node, as its place describes it."""

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
    """The caller who started the node."""

    age_seconds: float
    ends_by: float
    """Seconds since the epoch at which the node ends itself in any case."""

    dollars_per_hour: float | None
    dollars: float | None
    """USD so far; None: price unknown."""


class NodeList(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes that skygrid runs at the places that rent them."""

    regions: tuple[str, ...]
    """Regions that were searched."""

    nodes: tuple[RentedNode, ...]


class RunHere(msgspec.Struct, frozen=True, kw_only=True):
    """A run that rented nodes and whose folder is on this machine."""

    folder: Path
    run_id: str
    name: str
    driver_pid: int
    driven: bool
    """True if its driver may still run."""


class TeardownReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the teardown of one or more runs."""

    left: tuple[str, ...]
    """Instances that are not known to be terminated."""

    verified: bool
    """True if the place confirmed that nothing of the run costs money any more."""

    ended: int = 0
    """Number of instances that the run had."""

    notes: tuple[str, ...] = ()
    """Resources that are left or could not be checked, each with what to do about it."""


def joined(reports: Sequence[TeardownReport]) -> TeardownReport:
    """Return several reports as one."""
    return TeardownReport(
        left=tuple(instance for report in reports for instance in report.left),
        verified=all(report.verified for report in reports),
        ended=sum(report.ended for report in reports),
        notes=tuple(note for report in reports for note in report.notes),
    )
