"""Price of rented nodes before a run, and their cost after it."""

from __future__ import annotations

from skygrid.nodes.records import Bill, Quote

PRICE_UNKNOWN = "price unknown: set aws.price_per_hour"


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
