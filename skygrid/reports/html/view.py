"""The texts of the page."""

from __future__ import annotations

from skygrid.reports.html.analysed import Analysis
from skygrid.reports.html.failures_view import failure_view, failures_text, warning_view
from skygrid.reports.html.plots_view import cost_text, effects_lead, splits_view, varying
from skygrid.reports.html.records import Report
from skygrid.reports.html.repeat_view import given_name, repeat_view
from skygrid.reports.html.texts import (
    View,
    count_text,
    seconds_text,
    time_text,
)
from skygrid.reports.html.time_view import nodes_view, slots_text, time_tiles
from skygrid.reports.html.verdict_view import advice_view, no_advice, no_verdict, verdict_view

STATES = {
    "running": "running",
    "complete": "complete",
    "failed": "failed",
    "interrupted": "interrupted",
    "stopped": "stopped at its limit",
}


def page_view(report: Report, analysis: Analysis) -> View:
    """Return everything that the template shows as text."""
    record, table = report.record, report.candidates
    has_candidates = len(table) > 0 and bool(table.scores)
    return {
        "name": record.name,
        "search": report.search,
        "metric": report.display_metric,
        "state": report.state,
        "state_text": STATES[report.state],
        "started": f"started {time_text(record.started_at)}",
        "made": time_text(report.made_at),
        "facts": _facts(report),
        # The end of a run is new content too.
        "version": report.fits + (report.state != "running"),
        "total": report.record.fits_total or report.fits or 1,
        "partial": report.partial,
        "partial_title": "The search failed."
        if report.state == "failed"
        else "This report is partial.",
        "partial_text": _partial(report),
        "error": record.error
        if report.state == "failed" and "\n" in (record.error or "")
        else None,
        "notes": (*report.notes, *analysis.notes),
        "sections": _sections(report, has_candidates=has_candidates),
        "verdict": verdict_view(report, analysis),
        "no_verdict": no_verdict(report),
        "advice": [advice_view(one) for one in analysis.advice],
        "no_advice": no_advice(report, analysis),
        "has_candidates": has_candidates,
        "effects_lead": effects_lead(report),
        "families": len(analysis.families) > 1,
        "importance": any(one.main for one in analysis.importances),
        "pairs": len(varying(table.params)) > 1,
        **splits_view(report),
        "cost_text": cost_text(report, analysis),
        "derived_text": "Hollow marks: the fit time was computed from another candidate's fit."
        if any(table.derived)
        else "",
        "failures": [failure_view(one, report) for one in report.failures],
        "warnings": [warning_view(one, report) for one in report.warnings],
        "failures_text": failures_text(report),
        "time_tiles": time_tiles(report),
        "has_slots": bool(report.slots),
        "slots_text": slots_text(report),
        "nodes": nodes_view(report),
        **repeat_view(report),
    }


def _facts(report: Report) -> str:
    parts = []
    if len(report.candidates):
        rounds = report.candidates.rounds
        rungs = len(set(rounds))
        in_rungs = f" in {rungs} iterations" if rungs > 1 else ""
        # Later iterations have candidates of the first one again.
        halving = bool(report.candidates.resources) or report.search.startswith("Halving")
        first = rounds.count(min(rounds)) if halving else len(rounds)
        parts.append(f"{count_text(first, 'candidate')}{in_rungs}")
    if report.splits:
        parts.append(count_text(report.splits, "split"))
    total = report.record.fits_total
    of = f" of {total:,}" if report.partial and total else ""
    parts.append(f"{report.fits:,}{of} fits")
    ended = report.record.ended_at
    if ended and ended > report.record.started_at:
        parts.append(f"{seconds_text(ended - report.record.started_at)}")
    if report.nodes:
        parts.append(f"{count_text(sum(node.fits > 0 for node in report.nodes), 'node')}")
    return " · ".join(parts)


def _partial(report: Report) -> str:
    total = report.record.fits_total
    done = f"{report.fits:,} of {total:,} fits are recorded" if total else "No fit is recorded yet"
    if report.state == "running":
        return f"The run is in progress: {done}. Newer: skygrid report {given_name(report)}"
    if report.state == "failed":
        first = (report.record.error or "").partition("\n")[0]
        return f"{done}. {first}"
    reason = report.record.error or f"{done}; go on with: skygrid resume {given_name(report)}"
    return reason[0].upper() + reason[1:]


def _sections(report: Report, *, has_candidates: bool) -> list[tuple[str, str]]:
    plots = [("effects", "Effects"), ("splits", "Splits"), ("cost", "Cost")]
    if report.splits < 2:
        plots.remove(("splits", "Splits"))
    return [
        ("verdict", "Verdict"),
        ("next", "Next"),
        *(plots if has_candidates else []),
        ("failures", "Failures"),
        ("time", "Time"),
        *([("candidates", "Candidates")] if has_candidates else []),
        ("repeat", "Repeat"),
    ]
