"""Costs of nodes: estimates, limits and texts."""

from __future__ import annotations

import msgspec
import pytest

from skygrid.config import limits
from skygrid.engine.stopping import any_of, cost_limit, never, time_limit
from skygrid.nodes.records import Bill, Quote
from skygrid.reports.money import bill_text, dollars_text
from skygrid.reports.views import CheckResult, RoundSize

QUOTE = Quote(
    nodes=3,
    instance_type="c7i.xlarge",
    vcpus=4,
    memory_gib=8.0,
    market="on-demand",
    region="us-east-1",
    zones=("us-east-1a",),
    account="123456789012",
    image="ami-1",
    dollars_per_hour=0.2,
)


def test_an_estimate_covers_all_nodes_and_their_start_and_end() -> None:
    """An estimate covers all nodes from their launch to their end."""
    hours = (limits.USUAL_START + 3600 + limits.USUAL_END) / 3600
    assert QUOTE.dollars_for(3600) == pytest.approx(3 * 0.2 * hours)


def test_an_unknown_price_gives_no_estimate() -> None:
    """Without a price there is no estimate, and a limit in hours gives none in money."""
    unknown = msgspec.structs.replace(QUOTE, dollars_per_hour=None, max_hours=2.0)
    assert unknown.dollars_for(60) is None
    assert unknown.dollars_per_hour_in_all is None
    assert unknown.most_dollars is None


@pytest.mark.parametrize(
    ("max_cost", "max_hours", "most"),
    [
        (None, None, None),
        (1.5, None, 1.5),
        (1.5, 24.0, 1.5),
        (100.0, 1.0, 0.6 * (limits.USUAL_START + 3600 + limits.USUAL_END) / 3600),
    ],
)
def test_the_tighter_limit_bounds_the_cost(max_cost, max_hours, most) -> None:
    """The tighter of two limits gives the highest cost of a run."""
    quote = msgspec.structs.replace(QUOTE, max_cost=max_cost, max_hours=max_hours)
    assert quote.most_dollars == (None if most is None else pytest.approx(most))


def test_a_check_estimates_whole_turns_of_all_slots() -> None:
    """The estimate of a check counts the turns that its fits take on all slots."""
    check = CheckResult(
        search="GridSearchCV",
        rounds=(RoundSize(candidates=5, splits=5),),
        on="aws",
        nodes=3,
        slots=12,
        seconds_per_fit=100.0,
        quote=QUOTE,
    )
    assert check.estimated_seconds == 300.0
    assert check.estimated_dollars == pytest.approx(QUOTE.dollars_for(300.0))


@pytest.mark.parametrize(
    ("dollars", "text"),
    [(None, "not known"), (0.0, "$0.0000"), (0.0123, "$0.0123"), (1234.5, "$1,234.50")],
)
def test_small_amounts_show_their_digits(dollars, text) -> None:
    """Amounts below ten cents have four places, others two."""
    assert dollars_text(dollars) == text


def test_a_bill_says_whether_anything_is_left() -> None:
    """Only a verified bill says that no node is left."""
    bill = Bill(dollars=0.5, instances=3)
    assert bill_text(bill) == "cost $0.50 for 3 nodes; 0 nodes left, verified"
    unsure = msgspec.structs.replace(bill, left=("i-1",), verified=False)
    assert "may still cost: i-1" in bill_text(unsure)
    assert "verified" not in bill_text(unsure)


def test_a_cost_limit_stops_a_run() -> None:
    """A run stops when its cost reaches the limit; an unknown cost stops nothing."""
    spent: list[float | None] = [0.99]
    limit = cost_limit(1.0, lambda: spent[-1])
    assert limit(0.0) is None
    spent.append(1.0)
    assert "--max-cost" in (limit(0.0) or "")
    spent.append(None)
    assert limit(0.0) is None


def test_the_first_of_several_reasons_counts() -> None:
    """Of several conditions, the first that has a reason stops the run."""
    both = any_of(never, time_limit(5.0), cost_limit(1.0, lambda: 2.0))
    assert "--max-cost" in (both(4.0) or "")
    assert "--max-hours" in (both(5.0) or "")
