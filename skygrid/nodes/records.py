"""Records that every place shares: a finding, a price, a bill, a rented node, an end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from skygrid.config import limits


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One place where searches may run, or one part of it, as `skygrid doctor` finds it."""

    name: str
    problems: tuple[str, ...] = ()
    """Reasons why a search cannot run there; each says what to do."""

    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Findings that may be worth knowing and prevent nothing."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes that a run is going to rent, and their price."""

    nodes: int
    instance_type: str
    """The type that is tried first."""

    other_types: tuple[str, ...] = ()
    """Types that are taken where the first one cannot be had."""

    vcpus: int
    memory_gib: float
    market: str
    region: str
    zones: tuple[str, ...]
    account: str
    image: str
    dollars_per_hour: float | None
    """USD of one node for an hour; None: not known."""

    price_source: str = ""
    max_cost: float | None = None
    """USD after which no fits are started."""

    max_hours: float | None = None
    """Hours after which no fits are started; None: no limit."""

    notes: tuple[str, ...] = ()

    @property
    def dollars_per_hour_in_all(self) -> float | None:
        """USD of all nodes for an hour."""
        return None if self.dollars_per_hour is None else self.nodes * self.dollars_per_hour

    def dollars_for(self, seconds: float) -> float | None:
        """Return the USD of a run whose fits take this wall time, start and end included."""
        if self.dollars_per_hour_in_all is None:
            return None
        rented = limits.USUAL_START + seconds + limits.USUAL_END
        return self.dollars_per_hour_in_all * rented / 3600

    @property
    def most_dollars(self) -> float | None:
        """USD that the limits allow at the most; None where nothing bounds them."""
        bounds = [self.max_cost]
        if self.max_hours is not None:
            bounds.append(self.dollars_for(self.max_hours * 3600))
        known = [bound for bound in bounds if bound is not None]
        return min(known) if known else None


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of the nodes of a run in all its sessions, and the nodes that are left."""

    dollars: float | None
    """USD by the price list, until the nodes were seen to be gone; None: price not known."""

    instances: int
    """Instances that were had in all, replacements included."""

    left: tuple[str, ...] = ()
    """Instances that are not known to be gone."""

    verified: bool = True
    """True if the provider was asked at the end, and knows of nothing that still costs."""

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
    """The caller who started it."""

    age_seconds: float
    ends_by: float
    """Seconds since the epoch at which it ends itself, whatever happens."""

    dollars_per_hour: float | None
    dollars: float | None
    """USD so far; None: price not known."""


class NodeList(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes that skygrid has running."""

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
    """True if its driver may still be at work."""


class TeardownReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the end of a run, or of several, has left."""

    left: tuple[str, ...]
    """Instances that are not known to be terminated."""

    verified: bool
    """True if the place was asked, and knows nothing of the run that still costs."""

    ended: int = 0
    """Instances that the run had in all."""

    notes: tuple[str, ...] = ()
    """Each thing that is left, or could not be looked for, and what to do about it."""


def joined(reports: Sequence[TeardownReport]) -> TeardownReport:
    """Return the report of several ends together."""
    return TeardownReport(
        left=tuple(instance for report in reports for instance in report.left),
        verified=all(report.verified for report in reports),
        ended=sum(report.ended for report in reports),
        notes=tuple(note for report in reports for note in report.notes),
    )
