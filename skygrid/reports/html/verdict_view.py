"""The verdict and the advice, as texts."""

from __future__ import annotations

import math
from typing import Any

from skygrid.reports.html.analysed import Analysis
from skygrid.reports.html.records import Report
from skygrid.reports.html.texts import (
    View,
    count_text,
    python_dict,
    score_text,
    seconds_text,
    signed_text,
    tile,
)


def verdict_view(report: Report, analysis: Analysis) -> View | None:
    """Return the best candidate with its numbers; None without one."""
    table, best = report.candidates, report.best
    if best is None:
        return None
    mean = table.means[report.metric][best]
    std = table.stds[report.metric][best]
    done = table.done[best]
    of = f"{done} of {report.splits}" if done < report.splits else str(done)
    so_far = " so far" if report.partial else ""
    return {
        "label": f"Mean {report.display_metric} of the chosen candidate"
        if analysis.verdict is not None and analysis.verdict.better is not None
        else f"Best mean {report.display_metric}{so_far}",
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
        tiles += [tile(f"Holdout {name}", score_text(one)) for name, one in report.holdout.items()]
    elif report.holdout is not None:
        tiles.append(tile("Holdout", score_text(report.holdout), "scored once, after the refit"))
    if verdict is not None and verdict.gain_over_median is not None:
        note = f"median {score_text(verdict.median)}, {count_text(verdict.scored, 'candidate')}"
        tiles.append(tile("Gain over the median", signed_text(verdict.gain_over_median), note))
    if verdict is not None and verdict.gain_over_default is not None:
        note = f"{metric} {score_text(verdict.default_mean)} with the estimator's own values"
        tiles.append(tile("Gain over the defaults", signed_text(verdict.gain_over_default), note))
    if verdict is not None and verdict.comparison.test:
        alike = len(verdict.comparison.indistinguishable)
        note = f"of {verdict.comparison.compared:,}: {verdict.comparison.test}"
        tiles.append(tile("As good as the best", f"{alike:,}", note))
    if report.best is not None:
        for name in report.metrics:
            if name != report.metric:
                mean = report.candidates.means[name]
                tiles.append(tile(f"Its mean {name}", score_text(mean[report.best])))
        if train := report.candidates.train_scores.get(report.metric):
            known = [one for one in train[report.best] if one is not None]
            if known:
                tiles.append(tile("Its train score", score_text(math.fsum(known) / len(known))))
        seconds = [one for one in report.candidates.fit_seconds[report.best] if one is not None]
        if seconds:
            tiles.append(tile("Its mean fit time", seconds_text(math.fsum(seconds) / len(seconds))))
    return tiles


def _sentences(report: Report, analysis: Analysis) -> str:
    if analysis.verdict is None:
        return ""
    if analysis.verdict.best is None and report.partial:
        return "No candidate has scores on all splits yet, so the comparison is missing."
    return " ".join(analysis.verdict.sentences)


def no_advice(report: Report, analysis: Analysis) -> str:
    """Return the text in place of hints."""
    if analysis.verdict is None or analysis.verdict.best is None:
        return "Too few fits have a score."
    if report.partial:
        return "Nothing stands out so far."
    alike = len(analysis.verdict.comparison.indistinguishable)
    if alike == 0:
        return "Nothing stands out: no value at the edge of its range, no sign of over-fitting."
    many = "1 other candidate is" if alike == 1 else f"{alike} other candidates are"
    return (
        f"Nothing stands out, and {many} statistically as good as the best one. Take the cheapest "
        f"or simplest of them, or repeat the splits to tell them apart: RepeatedStratifiedKFold or "
        f"RepeatedKFold as cv."
    )


def no_verdict(report: Report) -> str:
    """Return the reason why no candidate is the best."""
    if report.fits and report.failed + report.killed == report.fits:
        return "All fits failed, so no candidate has a score. The reasons are below."
    return "No candidate has a score yet."


def advice_view(one: Any) -> View:
    """Return one hint: its first sentence, the rest, the lines to paste."""
    code = "\n".join(part for part in (one.imports, one.line) if part)
    first, dot, rest = one.text.partition(". ")
    return {"title": first + dot.strip(), "text": rest, "code": code}
