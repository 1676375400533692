"""A budget holds over all sessions of a run."""

from __future__ import annotations

import msgspec
import pytest

from skygrid.config import limits
from skygrid.nodes.records import Quote
from skygrid.run.budget import higher_limit, least_dollars, start_refusal

QUOTE = Quote(
    nodes=2,
    instance_type="c7a.large",
    vcpus=2,
    memory_gib=4.0,
    market="on-demand",
    region="us-east-1",
    zones=("us-east-1a",),
    account="123456789012",
    image="ami-1",
    dollars_per_hour=3600 / (limits.USUAL_START + limits.USUAL_END),
)
"""To start and end a node costs one dollar."""

UNKNOWN = msgspec.structs.replace(QUOTE, dollars_per_hour=None)


@pytest.mark.parametrize(
    ("limit", "spent", "fresh", "starts"),
    [
        (2.0, 0.0, 2, True),
        (2.0, 0.01, 2, False),
        (2.0, 1.0, 1, True),
        (2.0, 1.01, 1, False),
        (2.0, 5.0, 1, False),
        (2.0, None, 2, True),
    ],
)
def test_nodes_start_only_within_the_limit(limit, spent, fresh, starts) -> None:
    """Nodes start if the money spent so far and their start and end stay within the limit."""
    assert (start_refusal(limit, QUOTE, spent, fresh) is None) == starts


def test_the_refusal_names_the_sums() -> None:
    """The reason has the limit, the money spent and the price of the start."""
    said = start_refusal(1.5, QUOTE, 0.9, 2)
    assert said == (
        "the limit of --max-cost, $1.50, is reached: $0.90 are spent, "
        "and to start and end 2 x c7a.large costs about $2.00"
    )


def test_a_replacement_leaves_the_money_to_end_the_others() -> None:
    """Beside its own start and end, a replacement reserves the end of the nodes that run."""
    end = limits.USUAL_END / (limits.USUAL_START + limits.USUAL_END)
    assert least_dollars(QUOTE, 1, 3) == pytest.approx(1 + 3 * end)
    assert start_refusal(2.0, QUOTE, 0.9, 1, 0) is None
    assert start_refusal(2.0, QUOTE, 0.9, 1, 1) is not None


def test_an_unknown_price_refuses_nothing() -> None:
    """Without a price no node is refused here: the command refuses the limit itself."""
    assert least_dollars(UNKNOWN, 1) is None
    assert start_refusal(1.0, UNKNOWN, 5.0, 1) is None


@pytest.mark.parametrize(("limit", "spent"), [(0.5, 0.3), (1.3, 1.8), (100.0, 1.0), (2.0, None)])
def test_the_limit_of_the_hint_starts_the_nodes(limit, spent) -> None:
    """The limit that a message advises is higher, and lets the nodes of a session start."""
    advised = higher_limit(limit, QUOTE, spent)
    assert advised >= 2 * limit
    assert start_refusal(advised, QUOTE, spent, QUOTE.nodes) is None
