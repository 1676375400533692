"""Data of the plots and of the table of candidates, for the scripts of the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skygrid.reports.html.analysed import Analysis
from skygrid.reports.html.records import Candidates, PerSplit, Report, Score
from skygrid.reports.html.values import (
    as_number,
    value_code,
    value_key,
    value_text,
)

MOST_CELLS = 200_000
"""Maximum number of scores of single splits in a page, which keeps it under six megabytes."""

BEST_KEPT = 1000
"""Candidates whose single scores are kept in any case: the best ones."""

MOST_CANDIDATES = 20_000
"""Maximum number of candidates in a page: of more, the best half and a sample of the others."""

Json = dict[str, Any]


def page_data(report: Report, analysis: Analysis) -> Json:
    """Return the data of the page's plots, as JSON data."""
    ids = page_rows(report)
    table = report.candidates if ids is None else some_candidates(report.candidates, ids)
    kept = _kept_rows(table, report)
    place = {row: row for row in range(len(table))} if ids is None else _places(ids)
    return {
        "ids": ids,
        "of": len(report.candidates),
        "name": report.record.name,
        "metric": report.metric,
        "metrics": [
            {"key": one, "label": report.display_metric if one == report.metric else one}
            for one in report.metrics
        ],
        "n": len(table),
        "splits": report.splits,
        "best": None if report.best is None else place[report.best],
        "params": [_column(table, name) for name in parameter_names(table.params)],
        "round": list(table.rounds) if len(set(table.rounds)) > 1 else None,
        "nTrain": list(table.n_train),
        "resources": list(table.resources) or None,
        "kept": kept,
        "mean": {name: _numbers(column) for name, column in table.means.items()},
        "std": {name: _numbers(column) for name, column in table.stds.items()},
        "rank": {name: list(column) for name, column in table.ranks.items()},
        "scores": {name: _some(scores, kept) for name, scores in table.scores.items()},
        "train": {name: _some(scores, kept) for name, scores in table.train_scores.items()},
        "trainMean": {name: _means(scores) for name, scores in table.train_scores.items()},
        "fit": _means(table.fit_seconds, 4),
        "derived": [row for row, derived in enumerate(table.derived) if derived],
        "done": None if all(one == report.splits for one in table.done) else list(table.done),
        "failed": {row: count for row, count in enumerate(table.failed) if count},
        "slots": [
            {
                "label": f"{line.node} · {line.slot}",
                "fits": line.fits,
                "stretches": [
                    [_short(one.begin, 6), _short(one.end - one.begin, 4), one.fits, one.failed]
                    for one in line.stretches
                ],
            }
            for line in report.slots
        ],
        "events": [
            {"at": round(event.at, 2), "node": event.node, "what": event.what}
            for event in report.events
            if event.at >= 0
        ],
        **_analysis(analysis, place),
    }


def page_rows(report: Report) -> list[int] | None:
    """Return the candidates in the page, by their rows; None for all."""
    table = report.candidates
    if len(table) <= MOST_CANDIDATES:
        return None
    ranks = table.ranks.get(report.metric) or range(len(table))
    ordered = sorted(range(len(table)), key=lambda row: (-table.rounds[row], ranks[row]))
    half = MOST_CANDIDATES // 2
    rest = ordered[half:]
    chosen = {*ordered[:half], *rest[:: math.ceil(len(rest) / (half - 1))]}
    return sorted(chosen if report.best is None else {*chosen, report.best})


def some_candidates(table: Candidates, rows: Sequence[int]) -> Candidates:
    """Return a table of these rows only."""

    def take(column: Any) -> Any:
        if isinstance(column, dict):
            return {name: take(one) for name, one in column.items()}
        return tuple(column[row] for row in rows) if len(column) == len(table) else column

    return Candidates(**{name: take(getattr(table, name)) for name in table.__struct_fields__})


def _places(rows: Sequence[int]) -> dict[int, int]:
    return {row: place for place, row in enumerate(rows)}


def parameter_names(params: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of all parameters in the order in which candidates have them."""
    return list(dict.fromkeys(name for one in params for name in one))


def _column(table: Candidates, name: str) -> Json:
    """Return the values of one parameter: numbers, or texts with their Python code."""
    values = [one.get(name, _MISSING) for one in table.params]
    numbers = [None if value is _MISSING else as_number(value) for value in values]
    present = sum(value is not _MISSING for value in values)
    if present and sum(number is not None for number in numbers) == present:
        whole = {number for value, number in zip(values, numbers, strict=True) if _is_int(value)}
        column = {"name": name, "kind": "n", **_indexed(numbers)}
        # Of 1 and 10.0 in one column, the copy keeps the types.
        return {**column, "ints": [at for at, one in enumerate(column["values"]) if one in whole]}
    codes: dict[tuple[str, str], int] = {}
    labels: list[str] = []
    sources: list[str] = []
    order: list[float | None] = []
    index: list[int] = []
    for row, value in enumerate(values):
        if value is _MISSING:
            index.append(-1)
            continue
        text = table.texts[row].get(name) if row < len(table.texts) else None
        key = ("object", text) if text else value_key(value)
        if key not in codes:
            codes[key] = len(labels)
            labels.append(value_text(value, text))
            sources.append(value_code(value, text))
            order.append(as_number(value))
        index.append(codes[key])
    return {
        "name": name,
        "kind": "c",
        "values": labels,
        "code": None if labels == sources else sources,
        "order": order if any(one is not None for one in order) else None,
        "index": index,
        "distinct": len(labels),
    }


_MISSING = object()


def _is_int(value: Any) -> bool:
    """Return whether a number is an integer, of Python or of NumPy."""
    return isinstance(value, int) or getattr(getattr(value, "dtype", None), "kind", "f") in "iu"


def _indexed(numbers: Sequence[float | None]) -> Json:
    """Return numbers with an index into the distinct ones, or as they are if most are distinct."""
    distinct = sorted({number for number in numbers if number is not None})
    plain = [_whole(number) for number in distinct]
    if len(distinct) > len(numbers) / 2 and len(numbers) > 200:
        flat = [None if number is None else _whole(number) for number in numbers]
        return {"values": flat, "index": None, "distinct": len(distinct)}
    place = {number: position for position, number in enumerate(distinct)}
    index = [-1 if number is None else place[number] for number in numbers]
    return {"values": plain, "index": index, "distinct": len(distinct)}


def _whole(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _kept_rows(table: Candidates, report: Report) -> list[int] | None:
    """Return the candidates whose single scores are in the page; None for all."""
    cells = len(table) * report.splits * (len(table.scores) + len(table.train_scores))
    if cells <= MOST_CELLS:
        return None
    room = max(BEST_KEPT, MOST_CELLS * len(table) // cells)
    ranks = table.ranks.get(report.metric, ())
    ordered = sorted(range(len(table)), key=lambda row: ranks[row])
    rest = ordered[BEST_KEPT:]
    step = max(1, math.ceil(len(rest) / max(1, room - BEST_KEPT)))
    return sorted({*ordered[:BEST_KEPT], *rest[::step]})


def _some(scores: PerSplit, kept: Sequence[int] | None) -> list[list[Score]]:
    rows = scores if kept is None else [scores[row] for row in kept]
    return [_numbers(row, 6) for row in rows]


def _numbers(column: Iterable[Score], digits: int = 7) -> list[Score]:
    return [None if one is None else _short(one, digits) for one in column]


def _means(table: PerSplit, digits: int = 7) -> list[Score]:
    means: list[Score] = []
    for row in table:
        known = [one for one in row if one is not None]
        means.append(_short(sum(known) / len(known), digits) if known else None)
    return means


def _short(number: float, digits: int) -> float:
    """Return a number with fewer digits, which need less room in the page."""
    if number == 0 or not math.isfinite(number):
        return 0.0
    rounded = round(float(number), digits - 1 - math.floor(math.log10(abs(number))))
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e9 else rounded


def _analysis(analysis: Analysis, place: Mapping[int, int]) -> Json:
    axes: dict[int, dict[str, str]] = {}
    for effect in analysis.effects:
        axes.setdefault(effect.family, {})[effect.name] = effect.axis
    family_of = [0] * len(place)
    for family in analysis.families:
        for row in family.rows:
            if row in place:
                family_of[place[row]] = family.index
    return {
        "families": [
            {
                "index": one.index,
                "label": one.label,
                "best": None if one.best is None else place.get(one.best),
            }
            for one in analysis.families
        ],
        "family": family_of if len(analysis.families) > 1 else None,
        "axes": axes,
        "importance": [
            {
                "family": one.family,
                "note": one.note,
                "main": [[main.name, round(main.fraction, 5)] for main in one.main],
                "pairs": [
                    [pair.first, pair.second, round(pair.fraction, 5)] for pair in one.pairs[:10]
                ],
            }
            for one in analysis.importances
        ],
        "costRows": _cost_rows(analysis, place),
        "alike": [
            place[row]
            for row in (analysis.verdict.comparison.indistinguishable if analysis.verdict else ())
            if row in place
        ],
    }


def _cost_rows(analysis: Analysis, place: Mapping[int, int]) -> list[int] | None:
    """Return the candidates in the plot of cost; None for all."""
    points = analysis.cost.points if analysis.cost is not None else ()
    rows = [place[point.row] for point in points if point.row in place]
    return None if len(rows) in (0, len(place)) else rows
