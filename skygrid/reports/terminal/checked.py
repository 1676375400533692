"""The plan of a search, as `skygrid check` prints it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from skygrid.nodes.records import Quote
from skygrid.nodes.registry import place_named
from skygrid.reports.console import duration_text, facts_grid, score_text
from skygrid.reports.failures import error_of, short_error
from skygrid.reports.money import PRICE_UNKNOWN, dollars_text
from skygrid.reports.plain_values import count_text, parameters_text, round_text
from skygrid.reports.shared_work import shared_text
from skygrid.reports.views import CheckResult
from skygrid.util.terminal import printable


def check_view(check: CheckResult, *, traceback: bool = False) -> RenderableType:
    """Return the plan of a search for the terminal.

    Parameters
    ----------
    check : CheckResult
    traceback : bool, default=False
        True: show the traceback of a failed sample fit.
    """
    grid = facts_grid()
    several = len(check.rounds) > 1 or check.open_ended
    least = "at least " if check.open_ended else ""
    for number, size in enumerate(check.rounds):
        grid.add_row(
            f"round {number + 1}" if several else "plan", round_text(size.candidates, size.splits)
        )
    if several:
        more = ": further rounds may follow" if check.open_ended else ""
        grid.add_row("together", f"{least}{count_text(check.fits, 'fit')}{more}")
    if check.shared is not None and (said := shared_text(check.shared)):
        place = " in round 1" if several else ""
        grid.add_row("sharing", said + place)
    slots = (
        "all their vCPUs" if check.slots is None else f"{count_text(check.slots, 'slot')} in all"
    )
    grid.add_row("nodes", f"{count_text(check.nodes, 'node')}, {slots}")
    if check.quote is not None:
        grid.add_row("", _rented(check.quote))
        grid.add_row("", _whereabouts(check.quote))
    if check.seconds_per_fit is not None:
        here = " on this machine" if check.quote is not None else ""
        grid.add_row("one fit", f"{duration_text(check.seconds_per_fit)}{here}{_sample(check)}")
    if check.estimated_seconds is not None:
        estimate = duration_text(check.estimated_seconds)
        grid.add_row("estimate", f"{least}{estimate}, if all fits take as long")
    if check.quote is None:
        grid.add_row("price", f"nothing: {place_named(check.on).title}")
    else:
        _add_price(grid, check, check.quote)
    parts: list[RenderableType] = [Text(check.search, style="bold"), grid]
    if check.sample_error:
        parts.append(_failed_sample(check, check.sample_error, traceback=traceback))
    notes = (*check.notes, *(check.quote.notes if check.quote else ()))
    parts.extend(Text(printable(note), style="yellow") for note in notes)
    return Group(*parts)


def _failed_sample(check: CheckResult, error: str, *, traceback: bool) -> RenderableType:
    text = error.strip() if traceback else short_error(error_of(error))
    params = parameters_text(check.sample_params or {}) or "the default"
    return Group(
        Text(f"the sample fit failed, with {params}:", style="red", overflow="fold"),
        Padding(Text(printable(text), overflow="fold"), (0, 0, 0, 2)),
    )


def _rented(quote: Quote) -> str:
    others = f", or {', '.join(quote.other_types)}" if quote.other_types else ""
    return (
        f"{quote.instance_type} ({quote.vcpus} vCPUs, {quote.memory_gib:g} GiB){others}, "
        f"{quote.market}"
    )


def _whereabouts(quote: Quote) -> str:
    return f"{quote.region} ({', '.join(quote.zones)}), account {quote.account}"


def _add_price(grid: Table, check: CheckResult, quote: Quote) -> None:
    rate, total = quote.dollars_per_hour, quote.dollars_per_hour_in_all
    if rate is None:
        grid.add_row("price", PRICE_UNKNOWN.removeprefix("price "))
        return
    source = f" ({quote.price_source})" if quote.price_source else ""
    each = f" = {quote.nodes} x {dollars_text(rate)}" if quote.nodes > 1 else ""
    grid.add_row("price", f"{dollars_text(total)} an hour{each}{source}")
    if check.estimated_dollars is not None:
        grid.add_row(
            "cost",
            f"{'at least' if check.open_ended else 'about'} "
            f"{dollars_text(check.estimated_dollars)}, start and end included",
        )
    if quote.most_dollars is not None:
        grid.add_row("at most", f"{dollars_text(quote.most_dollars)}, {_bound(quote)}")


def _bound(quote: Quote) -> str:
    if quote.max_cost is not None and quote.most_dollars == quote.max_cost:
        return "by --max-cost"
    return f"by --max-hours {quote.max_hours:g}"


def _sample(check: CheckResult) -> str:
    score = check.sample_score
    if isinstance(score, dict):
        said = ", ".join(f"{name} {score_text(value)}" for name, value in score.items())
        return f", scored {said}"
    return "" if score is None else f", scored {score_text(score)}"
