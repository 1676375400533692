"""The time, the slots and the nodes of a run, as texts."""

from __future__ import annotations

from skygrid.reports.html.records import Report
from skygrid.reports.html.texts import (
    View,
    count_text,
    seconds_text,
    tile,
)
from skygrid.reports.money import bill_text, dollars_text


def time_tiles(report: Report) -> list[View]:
    """Return the numbers about time and money."""
    record, shared = report.record, report.shared
    end = record.ended_at or report.made_at
    tiles = [tile("From start to end", seconds_text(max(0.0, end - record.started_at)))]
    fits = f"{report.fits:,} fits"
    if report.reused:
        fits += f", {report.reused:,} of them from earlier sessions"
    tiles.append(tile("Slot time of fits", seconds_text(report.fit_seconds), fits))
    if report.use is not None:
        idle = f"idle tail {seconds_text(report.use.tail_seconds)}"
        tiles.append(tile("Slot utilisation", f"{report.use.busy_share:.0%}", idle))
    if report.refit_seconds is not None:
        tiles.append(tile("Refit", seconds_text(report.refit_seconds)))
    if shared.answered or shared.begun:
        kinds = []
        if shared.answered:
            kinds.append(f"{shared.answered:,} fits derived from shared fits")
        if shared.begun:
            kinds.append(f"{shared.begun:,} with shared first steps")
        tiles.append(tile("Saved by sharing", seconds_text(report.saved_seconds), ", ".join(kinds)))
    if record.bill is not None:
        tiles.append(tile("Money", dollars_text(record.bill.dollars), bill_text(record.bill)))
    return tiles


def slots_text(report: Report) -> str:
    """Return the explanation of the plot of slots."""
    text = "A bar is time in which a slot was fitting; gaps are idle time."
    if any(one.failed for line in report.slots for one in line.stretches):
        text += " Fits that failed are marked."
    return text


def nodes_view(report: Report) -> list[View]:
    """Return the rows of the table of nodes."""
    rented = {one.name: one for one in report.rented}
    return [
        {
            "name": node.name,
            "machine": ", ".join(
                part
                for part in (
                    node.host,
                    node.cpu,
                    count_text(node.vcpus, "vCPU") if node.vcpus else "",
                    *(
                        (
                            rented[node.name].instance_type,
                            rented[node.name].zone,
                            rented[node.name].market,
                        )
                        if node.name in rented
                        else ()
                    ),
                )
                if part
            ),
            "slots": node.slots or "",
            "fits": f"{node.fits:,}",
            "seconds": seconds_text(node.fit_seconds),
            "events": ", ".join(
                f"{event.what} at {seconds_text(max(0.0, event.at))}"
                for event in report.events
                if event.node == node.name and event.what != "starting"
            ),
        }
        for node in report.nodes
    ]
