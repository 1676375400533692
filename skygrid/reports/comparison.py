"""Differences between two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .envelope import envelope, json_text
from .plain_values import Plain, parameter_text, plain_parameters
from .ranking import Results, Row, ranking
from .run_record import RunRecord, State
from .summary import Summary

UNINTERESTING = ("name", "runs_dir")
"""Settings that differ between runs without any effect."""


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One of two runs."""

    name: str
    state: State
    record: RunRecord
    summary: Summary | None
    results: Results


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A fact with two values."""

    fact: str
    first: str
    """Empty if the first run has none, as `second`."""

    second: str


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate with two scores."""

    params: dict[str, Plain]
    first: float | None
    second: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Differences between two runs, the first and the second."""

    runs: tuple[str, str]
    states: tuple[str, str]
    metrics: tuple[str, str]
    best_scores: tuple[float | None, float | None]
    best_params: tuple[dict[str, Plain] | None, dict[str, Plain] | None]
    candidates: tuple[int, int]
    inputs: tuple[str, ...]
    """Parts of the search that differ: X, y, estimator, cv, scoring and the like."""

    grid: tuple[Difference, ...]
    """Parameters whose values differ, with the values that only one of the runs has."""

    versions: tuple[Difference, ...]
    settings: tuple[Difference, ...]
    common: int
    """Candidates that both runs have."""

    changed: tuple[Changed, ...]
    """Those of them whose mean score differs, the largest difference first."""


def compare_runs(first: ComparedRun, second: ComparedRun) -> Comparison:
    """Return what differs between two runs."""
    runs = (first, second)
    versions = tuple(one.record.versions for one in runs)
    prints = [
        {name: text for name, text in one.record.fingerprint.items() if name not in versions[0]}
        for one in runs
    ]
    rows = [_rows(one) for one in runs]
    common = [key for key in rows[0] if key in rows[1]]
    return Comparison(
        runs=(first.name, second.name),
        states=(first.state, second.state),
        metrics=(_metric(first), _metric(second)),
        best_scores=(_best(first), _best(second)),
        best_params=(_best_params(first), _best_params(second)),
        candidates=(len(rows[0]), len(rows[1])),
        inputs=tuple(one.fact for one in _differences(*prints)),
        grid=_grid([row.params for row in rows[0].values()], [r.params for r in rows[1].values()]),
        versions=_differences(*versions),
        settings=_settings(first.record, second.record),
        common=len(common),
        changed=_changed([(rows[0][key], rows[1][key]) for key in common]),
    )


def comparison_json(found: Comparison) -> str:
    """Return the comparison as one JSON document."""
    return json_text(envelope("compare") | msgspec.to_builtins(found))


def _rows(run: ComparedRun) -> dict[str, Row]:
    """Return the candidates by their parameters, of a halving search those with most data."""
    if run.summary is None:
        return {}
    rows: dict[str, Row] = {}
    for row in ranking(run.summary, run.results).rows:
        params = plain_parameters(row.params)
        rows.setdefault(msgspec.json.encode(params, order="sorted").decode(), row)
    return rows


def _metric(run: ComparedRun) -> str:
    return "" if run.summary is None else run.summary.metric


def _best(run: ComparedRun) -> float | None:
    return None if run.summary is None else run.summary.best_score


def _best_params(run: ComparedRun) -> dict[str, Plain] | None:
    return None if run.summary is None else run.summary.best_params


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    return tuple(
        Difference(fact=name, first=_text(first, name), second=_text(second, name))
        for name in dict.fromkeys((*first, *second))
        if _text(first, name) != _text(second, name)
    )


def _text(facts: Mapping[str, Any], name: str) -> str:
    return parameter_text(facts[name], 200) if name in facts else ""


def _settings(first: RunRecord, second: RunRecord) -> tuple[Difference, ...]:
    flat = [_flat(one.config) for one in (first, second)]
    files = [{"search file": one.search_file or ""} for one in (first, second)]
    return _differences({**files[0], **flat[0]}, {**files[1], **flat[1]})


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of tables as ``aws.region``."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": one for key, one in value.items()}
        elif name not in UNINTERESTING:
            flat[name] = value
    return flat


def _grid(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]
) -> tuple[Difference, ...]:
    found = [_values_of(one) for one in (first, second)]
    differences = []
    for name in dict.fromkeys((*found[0], *found[1])):
        ours, theirs = (one.get(name, {}) for one in found)
        only = [", ".join(v for v in a if v not in b) for a, b in ((ours, theirs), (theirs, ours))]
        if any(only):
            differences.append(Difference(fact=name, first=only[0], second=only[1]))
    return tuple(differences)


def _values_of(candidates: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, None]]:
    values: dict[str, dict[str, None]] = {}
    for one in candidates:
        for name, value in one.items():
            values.setdefault(name, {})[parameter_text(value)] = None
    return values


def _changed(pairs: Sequence[tuple[Row, Row]]) -> tuple[Changed, ...]:
    changed = [
        Changed(params=plain_parameters(one.params), first=one.mean, second=other.mean)
        for one, other in pairs
        if one.mean != other.mean
    ]
    return tuple(sorted(changed, key=lambda one: -abs((one.second or 0) - (one.first or 0))))
