"""The limit ``--max-cost`` of a run over all its sessions: pure decisions."""

from __future__ import annotations

import math

from skygrid.config import limits
from skygrid.nodes.records import Quote
from skygrid.reports.money import dollars_text


def least_dollars(quote: Quote, fresh: int, others: int = 0) -> float | None:
    """Return the USD that it takes to start and end new nodes, and to end others; None: unknown.

    Parameters
    ----------
    quote : Quote
    fresh : int
        Number of nodes to start.
    others : int, default=0
        Number of nodes that run already.
    """
    if quote.dollars_per_hour is None:
        return None
    seconds = fresh * limits.USUAL_START + (fresh + others) * limits.USUAL_END
    return quote.dollars_per_hour * seconds / 3600


def start_refusal(
    limit: float, quote: Quote, spent: float | None, fresh: int, others: int = 0
) -> str | None:
    """Return the reason why nodes would exceed the limit before their first fit; None: they fit.

    Parameters
    ----------
    limit : float
        ``--max-cost`` in USD.
    quote : Quote
    spent : float or None
        USD that all sessions of the run have spent so far; None: unknown.
    fresh, others : int
        As for `least_dollars`.
    """
    least = least_dollars(quote, fresh, others)
    if least is None or spent is None or spent + least <= limit:
        return None
    return (
        f"the limit of --max-cost, {dollars_text(limit)}, is reached: {dollars_text(spent)} are "
        f"spent, and to start and end {fresh} x {quote.instance_type} costs about "
        f"{dollars_text(least_dollars(quote, fresh))}"
    )


def higher_limit(limit: float, quote: Quote, spent: float | None) -> float:
    """Return a limit in USD with which the next session gets beyond its first fits.

    Parameters
    ----------
    limit : float
        The limit that was reached.
    quote : Quote
    spent : float or None
        USD that all sessions of the run have spent so far, with the end of their nodes.
    """
    least = least_dollars(quote, quote.nodes) or 0.0
    return max(2 * limit, math.ceil(100 * ((spent or 0.0) + 2 * least)) / 100)
