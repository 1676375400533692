"""Price of rented nodes before a run, and their cost after it."""

from __future__ import annotations

import msgspec

from skygrid.config import limits

PRICE_UNKNOWN = "price unknown: set aws.price_per_hour"


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The offer for a run's nodes."""

    nodes: int
    instance_type: str
    """The type that is tried first."""

    other_types: tuple[str, ...] = ()
    """Types to use if the first one has no capacity."""

    vcpus: int
    memory_gib: float
    market: str
    region: str
    zones: tuple[str, ...]
    account: str
    image: str
    dollars_per_hour: float | None
    """USD per node and hour; None if unknown."""

    price_source: str = ""
    max_cost: float | None = None
    """USD above which no fits are started."""

    max_hours: float | None = None
    """Hours after which no fits are started; None for no limit."""

    notes: tuple[str, ...] = ()

    @property
    def dollars_per_hour_in_all(self) -> float | None:
        """USD per hour for all nodes."""
        return None if self.dollars_per_hour is None else self.nodes * self.dollars_per_hour

    def dollars_for(self, seconds: float) -> float | None:
        """Return the USD of a run with `seconds` of fitting, start and end included."""
        if self.dollars_per_hour_in_all is None:
            return None
        rented = limits.USUAL_START + seconds + limits.USUAL_END
        return self.dollars_per_hour_in_all * rented / 3600

    @property
    def most_dollars(self) -> float | None:
        """Upper bound of the cost in USD by the limits; None without a bound."""
        bounds = [self.max_cost]
        if self.max_hours is not None:
            bounds.append(self.dollars_for(self.max_hours * 3600))
        known = [bound for bound in bounds if bound is not None]
        return min(known) if known else None


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes rented by a run in all its sessions."""

    dollars: float | None
    """USD by the price list until the verified end of the nodes; None if a price is unknown."""

    instances: int
    """Number of instances, replacements included."""

    left: tuple[str, ...] = ()
    """Instances that may still run."""

    verified: bool = True
    """True if the provider confirmed that nothing is left that costs."""

    price_source: str = ""


def dollars_text(dollars: float | None) -> str:
    """Return an amount as ``$1.25``, below ten cents as ``$0.0042``; ``not known`` for None."""
    if dollars is None:
        return "not known"
    return f"${dollars:,.2f}" if dollars >= 0.1 else f"${dollars:.4f}"


def quote_text(quote: Quote) -> str:
    """Return a quote as one line."""
    nodes = f"{quote.nodes} x {quote.instance_type} {quote.market} in {quote.region}"
    if quote.dollars_per_hour_in_all is None:
        return f"{nodes}, {PRICE_UNKNOWN}"
    rate = dollars_text(quote.dollars_per_hour_in_all)
    source = f" ({quote.price_source})" if quote.price_source else ""
    return f"{nodes}, {rate} an hour{source}"


def bill_text(bill: Bill) -> str:
    """Return a bill as one line."""
    cost = f"cost {dollars_text(bill.dollars)}"
    if bill.left or not bill.verified:
        return f"{cost} so far, nodes that may still cost: {', '.join(bill.left) or 'not known'}"
    count = f"{bill.instances} node{'' if bill.instances == 1 else 's'}"
    return f"{cost} for {count}; 0 nodes left, verified"
