"""The texts of the page."""

from __future__ import annotations

import math
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skygrid.reports.html.analysed import Analysis
from skygrid.reports.html.page_data import parameter_names
from skygrid.reports.html.records import FailureGroup, Report, Score, WarningGroup
from skygrid.reports.html.values import value_code, value_key, value_text
from skygrid.reports.money import bill_text, dollars_text

View = dict[str, Any]

STATES = {
    "running": "running",
    "complete": "complete",
    "failed": "failed",
    "interrupted": "interrupted",
    "stopped": "stopped at its limit",
}

TOP = 10
"""Number of candidates whose splits are compared."""

MOST_ROWS = 2000
"""Maximum number of candidates that a group of failures names to the table."""


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
        "started": f"started {_when(record.started_at)}",
        "made": _when(report.made_at),
        "facts": _facts(report),
        # The end of a run is new content too.
        "version": report.fits + (report.state != "running"),
        "total": report.record.fits_total or report.fits or 1,
        "partial": report.partial,
        "partial_text": _partial(report),
        "error": record.error if report.state == "failed" else None,
        "notes": (*report.notes, *analysis.notes),
        "sections": _sections(report, has_candidates=has_candidates),
        "verdict": _verdict(report, analysis),
        "no_verdict": _no_verdict(report),
        "advice": [_advice(one) for one in analysis.advice],
        "no_advice": _no_advice(report, analysis),
        "has_candidates": has_candidates,
        "effects_lead": _effects_lead(report),
        "families": len(analysis.families) > 1,
        "importance": any(one.main for one in analysis.importances),
        "pairs": len(_varying(table.params)) > 1,
        "heat_text": f"The best mean {report.display_metric} for each pair of values, over all "
        "other parameters.",
        **_splits(report),
        "cost_text": _cost(report, analysis),
        "derived_text": "Hollow marks: the fit time was computed from another candidate's fit."
        if any(table.derived)
        else "",
        "failures": [_failure(one, report) for one in report.failures],
        "warnings": [_warning(one, report) for one in report.warnings],
        "failures_text": _failures_text(report),
        "time_tiles": _time_tiles(report),
        "has_slots": bool(report.slots),
        "slots_text": _slots_text(report),
        "nodes": _nodes(report),
        **_repeat(report),
    }


# ---- head ----------------------------------------------------------------------------------------


def _facts(report: Report) -> str:
    parts = []
    if len(report.candidates):
        rungs = len(set(report.candidates.rounds))
        in_rungs = f" in {rungs} iterations" if rungs > 1 else ""
        parts.append(f"{_count(len(report.candidates), 'candidate')}{in_rungs}")
    if report.splits:
        parts.append(_count(report.splits, "split"))
    total = report.record.fits_total
    of = f" of {total:,}" if report.partial and total else ""
    parts.append(f"{report.fits:,}{of} fits")
    ended = report.record.ended_at
    if ended and ended > report.record.started_at:
        parts.append(f"{seconds_text(ended - report.record.started_at)}")
    if report.nodes:
        parts.append(f"{_count(sum(node.fits > 0 for node in report.nodes), 'node')}")
    return " · ".join(parts)


def _partial(report: Report) -> str:
    total = report.record.fits_total
    done = f"{report.fits:,} of {total:,} fits are recorded" if total else "No fit is recorded yet"
    if report.state == "running":
        return (
            f"The run is in progress: {done}. Write it anew with: skygrid report {_given(report)}"
        )
    if report.state == "failed":
        return f"The search failed; {done}."
    reason = report.record.error or f"{done}; go on with: skygrid resume {_given(report)}"
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


# ---- verdict -------------------------------------------------------------------------------------


def _verdict(report: Report, analysis: Analysis) -> View | None:
    table, best = report.candidates, report.best
    if best is None:
        return None
    mean = table.means[report.metric][best]
    std = table.stds[report.metric][best]
    done = table.done[best]
    of = f"{done} of {report.splits}" if done < report.splits else str(done)
    so_far = " so far" if report.partial else ""
    return {
        "label": f"Best mean {report.display_metric}{so_far}",
        "mean": score_text(mean),
        "std": f"{std:.3g}" if std is not None and done > 1 else "",
        "under": f"mean ± standard deviation over {of} splits" if done > 1 else f"{of} splits",
        "tiles": _verdict_tiles(report, analysis),
        "text": _sentences(report, analysis),
        "code": python_dict(table.params[best], table.texts[best] if table.texts else {}),
    }


def _verdict_tiles(report: Report, analysis: Analysis) -> list[View]:
    tiles = []
    verdict, metric = analysis.verdict, report.display_metric
    if isinstance(report.holdout, dict):
        tiles += [_tile(f"Holdout {name}", score_text(one)) for name, one in report.holdout.items()]
    elif report.holdout is not None:
        tiles.append(_tile("Holdout", score_text(report.holdout), "scored once, after the refit"))
    if verdict is not None and verdict.gain_over_median is not None:
        note = f"median {score_text(verdict.median)}, {_count(verdict.scored, 'candidate')}"
        tiles.append(_tile("Gain over the median", _signed(verdict.gain_over_median), note))
    if verdict is not None and verdict.gain_over_default is not None:
        note = f"{metric} {score_text(verdict.default_mean)} with the estimator's own values"
        tiles.append(_tile("Gain over the defaults", _signed(verdict.gain_over_default), note))
    if verdict is not None and verdict.comparison.test:
        alike = len(verdict.comparison.indistinguishable)
        note = f"of {verdict.comparison.compared:,}: {verdict.comparison.test}"
        tiles.append(_tile("As good as the best", f"{alike:,}", note))
    if report.best is not None:
        for name in report.metrics:
            if name != report.metric:
                mean = report.candidates.means[name]
                tiles.append(_tile(f"Its mean {name}", score_text(mean[report.best])))
        if train := report.candidates.train_scores.get(report.metric):
            known = [one for one in train[report.best] if one is not None]
            if known:
                tiles.append(_tile("Its train score", score_text(math.fsum(known) / len(known))))
        seconds = [one for one in report.candidates.fit_seconds[report.best] if one is not None]
        if seconds:
            tiles.append(
                _tile("Its mean fit time", seconds_text(math.fsum(seconds) / len(seconds)))
            )
    return tiles


def _sentences(report: Report, analysis: Analysis) -> str:
    if analysis.verdict is None:
        return ""
    if analysis.verdict.best is None and report.partial:
        return "No candidate has scores on all splits yet, so the comparison is missing."
    return " ".join(analysis.verdict.sentences)


def _no_advice(report: Report, analysis: Analysis) -> str:
    if analysis.verdict is None or analysis.verdict.best is None:
        return "Too few fits have a score."
    return "Nothing stands out." if not report.partial else "Nothing stands out so far."


def _no_verdict(report: Report) -> str:
    if report.fits and report.failed + report.killed == report.fits:
        return "All fits failed, so no candidate has a score. The reasons are below."
    return "No candidate has a score yet."


def _advice(one: Any) -> View:
    code = "\n".join(part for part in (one.imports, one.line) if part)
    first, dot, rest = one.text.partition(". ")
    return {"title": first + dot.strip(), "text": rest, "code": code}


# ---- plots ---------------------------------------------------------------------------------------


def _effects_lead(report: Report) -> str:
    varying = len(_varying(report.candidates.params))
    text = (
        f"Mean {report.display_metric} for each value of a parameter, over all values of the "
        "others. Points are scores of single splits, the line is their mean, a dash marks the best "
        "candidate."
    )
    if len(set(report.candidates.rounds)) > 1:
        text += (
            " The iterations of a halving search have different numbers of samples: only the first "
            "one is shown, which has all candidates."
        )
    return text if varying else "Only one value of each parameter was tried."


def _varying(params: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        name
        for name in parameter_names(params)
        if len({value_key(one[name]) for one in params if name in one}) > 1
    ]


def _splits(report: Report) -> View:
    table = report.candidates
    scores = table.scores.get(report.metric, ())
    if not scores or report.splits < 2 or report.best is None:
        return {"splits_text": None, "splits_title": ""}
    last = table.rounds[report.best]
    ranks = table.ranks[report.metric]
    rows = [row for row in range(len(table)) if table.rounds[row] == last]
    top = sorted(rows, key=lambda row: (row != report.best, ranks[row], row))[:TOP]
    medians = [_median(scores[row][split] for row in top) for split in range(report.splits)]
    return {
        "splits_title": f"The {len(top)} best candidates on each split"
        if len(top) > 1
        else "The candidate on each split",
        "splits_text": _disagreement(medians, report),
    }


def _disagreement(medians: Sequence[Score], report: Report) -> str:
    """Return a sentence about the split that differs most from the others."""
    known = {split: one for split, one in enumerate(medians) if one is not None}
    if len(known) < 3:
        return "There are too few splits with scores to say which one differs."
    middle = statistics.median(known.values())
    split = max(known, key=lambda one: abs(known[one] - middle))
    rest = [one for number, one in known.items() if number != split]
    gap, spread = abs(known[split] - middle), max(rest) - min(rest)
    side = "lower" if known[split] < middle else "higher"
    facts = (
        f"the median {report.display_metric} of the best candidates is {score_text(known[split])} "
        f"there and {score_text(min(rest))} to {score_text(max(rest))} on the others"
    )
    if gap == 0:
        return "All splits agree."
    if gap > spread:
        return f"Split {split} disagrees: {facts}. Its test samples are worth a look."
    return f"No split stands apart. Split {split} is the {side[:-2]}est: {facts}."


def _cost(report: Report, analysis: Analysis) -> str:
    table, best = report.candidates, report.best
    if analysis.cost is None or best is None or not analysis.cost.front:
        return "Fit times are means over the splits, without scoring."
    points = [analysis.cost.points[place] for place in analysis.cost.front]
    fastest = points[0]
    mean = table.means[report.metric][best]
    if fastest.row == best or mean is None or fastest.score >= mean:
        return (
            f"No candidate is faster than the best: {seconds_text(fastest.fit_seconds)} for a fit."
        )
    return (
        f"{len(points)} candidates are on the Pareto front: from {score_text(fastest.score)} in "
        f"{seconds_text(fastest.fit_seconds)} to {score_text(mean)} in "
        f"{seconds_text(points[-1].fit_seconds)} for a fit."
    )


# ---- failures ------------------------------------------------------------------------------------


def _failures_text(report: Report) -> str:
    bad = report.failed + report.killed
    parts = []
    if bad:
        parts.append(f"{bad:,} of {report.fits:,} fits failed.")
    if report.retries:
        parts.append(f"{_count(report.retries, 'attempt')} took a slot down.")
    if report.warnings:
        parts.append(f"{_count(len(report.warnings), 'kind')} of warning.")
    return " ".join(parts) or "No fit failed, and none raised a warning."


def _failure(one: FailureGroup, report: Report) -> View:
    return {
        "count": f"{one.count:,}",
        "error": one.error,
        "where": _where(one.candidates, one.splits, report),
        "common": _parameters(one.common, one.candidates[0], report),
        "rows": ",".join(map(str, one.candidates[:MOST_ROWS])) if report.candidates.scores else "",
        "traceback": one.traceback,
    }


def _warning(one: WarningGroup, report: Report) -> View:
    return {
        "count": f"{one.count:,}",
        "category": one.category,
        "message": one.message,
        "where": _where(one.candidates, one.splits, report),
        "common": _parameters(one.common, one.candidates[0], report),
        "rows": ",".join(map(str, one.candidates[:MOST_ROWS])) if report.candidates.scores else "",
    }


def _where(candidates: Sequence[int], splits: Sequence[int], report: Report) -> str:
    every = len(splits) == report.splits
    on = "on all splits" if every else f"on split {', '.join(map(str, splits))}"
    row, params = candidates[0], report.candidates.params
    some = f"; the first: {_parameters(params[row], row, report)}" if row < len(params) else ""
    return f"{_count(len(candidates), 'candidate')}, {on}{some}"


def _parameters(params: Mapping[str, Any], row: int, report: Report) -> str:
    """Return parameters of a candidate in one line."""
    every = report.candidates.texts
    texts = every[row] if row < len(every) else {}
    return ", ".join(
        f"{name}={value_text(value, texts.get(name))}" for name, value in params.items()
    )


# ---- time ----------------------------------------------------------------------------------------


def _time_tiles(report: Report) -> list[View]:
    record, shared = report.record, report.shared
    end = record.ended_at or report.made_at
    tiles = [_tile("From start to end", seconds_text(max(0.0, end - record.started_at)))]
    fits = f"{report.fits:,} fits"
    if report.reused:
        fits += f", {report.reused:,} of them from earlier sessions"
    tiles.append(_tile("Slot time of fits", seconds_text(report.fit_seconds), fits))
    if report.use is not None:
        idle = f"idle tail {seconds_text(report.use.tail_seconds)}"
        tiles.append(_tile("Slot utilisation", f"{report.use.busy_share:.0%}", idle))
    if report.refit_seconds is not None:
        tiles.append(_tile("Refit", seconds_text(report.refit_seconds)))
    if shared.answered or shared.begun:
        kinds = []
        if shared.answered:
            kinds.append(f"{shared.answered:,} fits derived from shared fits")
        if shared.begun:
            kinds.append(f"{shared.begun:,} with shared first steps")
        tiles.append(
            _tile("Saved by sharing", seconds_text(report.saved_seconds), ", ".join(kinds))
        )
    if record.bill is not None:
        tiles.append(_tile("Money", dollars_text(record.bill.dollars), bill_text(record.bill)))
    return tiles


def _slots_text(report: Report) -> str:
    text = "A bar is time in which a slot was fitting; gaps are idle time."
    if any(one.failed for line in report.slots for one in line.stretches):
        text += " Fits that failed are marked."
    return text


def _nodes(report: Report) -> list[View]:
    rented = {one.name: one for one in report.rented}
    return [
        {
            "name": node.name,
            "machine": ", ".join(
                part
                for part in (
                    node.host,
                    node.cpu,
                    f"{node.vcpus} vCPUs" if node.vcpus else "",
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


# ---- repeat --------------------------------------------------------------------------------------


def _repeat(report: Report) -> View:
    record = report.record
    blocks = [{"title": "Command", "text": "", "code": _command(record.argv)}]
    if report.has_model:
        path = str(Path(report.folder) / "search.pkl")
        code = (
            f'import pickle\n\nwith open({path!r}, "rb") as file:\n    search = pickle.load(file)\n'
        )
        code += "search.predict(X)" if report.refitted else "search.cv_results_"
        text = "The fitted search is scikit-learn's own object; skygrid is not needed to load it."
        blocks.append({"title": "Load the model", "text": text, "code": code})
    search_facts = record.search
    data = list(search_facts.data.items())
    digests = [
        (key, value) for key, value in record.fingerprint.items() if key not in record.versions
    ]
    sizes = _sizes(report)
    tables = [
        {"title": "Versions", "rows": list(record.versions.items())},
        {"title": "Data", "rows": [*data, *sizes]},
        {"title": "Fingerprint", "rows": [(key, value[:16]) for key, value in digests]},
    ]
    return {
        "repeat": blocks,
        "repeat_tables": [one for one in tables if one["rows"]],
        "diagram": report.diagram,
        "source": report.source,
        "source_name": Path(record.search_file).name if record.search_file else "",
        "source_note": report.source_note,
        "source_open": report.source is not None and report.source.count("\n") < 40,
    }


def _sizes(report: Report) -> list[tuple[str, str]]:
    if not report.n_train or not any(report.n_train):
        return []
    last = " in the last iteration" if len(set(report.candidates.rounds)) > 1 else ""
    return [
        (
            f"samples per split{last}",
            f"{_range(report.n_train)} train, {_range(report.n_test)} test",
        )
    ]


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _command(argv: Sequence[str]) -> str:
    return shlex.join([Path(argv[0]).name, *argv[1:]]) if argv else "skygrid run"


def _given(report: Report) -> str:
    folder = Path(report.folder)
    return shlex.quote(folder.name if folder.parent == Path("skygrid-runs") else report.folder)


# ---- texts ---------------------------------------------------------------------------------------


def python_dict(params: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Return parameters as a Python dict, one line each if there are several."""
    items = [f"{name!r}: {value_code(value, texts.get(name))}" for name, value in params.items()]
    one = "{" + ", ".join(items) + "}"
    return one if len(one) <= 72 else "{\n" + "".join(f"    {item},\n" for item in items) + "}"


def score_text(score: float | None) -> str:
    """Return a score in five significant digits; a dash for none."""
    return "–" if score is None else f"{score:.5g}"


def seconds_text(seconds: float) -> str:
    """Return a duration as a reader writes it: 12 ms, 3.4 s, 5 min 12 s, 2 h 5 min."""
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.0995 else f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def _signed(number: float) -> str:
    return f"{number:+.4g}".replace("-", "−") if number else "0"


def _median(values: Any) -> Score:
    known = [one for one in values if one is not None]
    return statistics.median(known) if known else None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _when(instant: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(instant))


def _tile(label: str, value: str, note: str = "") -> View:
    return {"label": label, "value": value, "note": note}
