"""Summary of a finished search: plain, frozen data for every report.

It holds no estimator and no array, so that ``result.json`` stores it without pickle.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skygrid.nodes.records import Bill
from skygrid.plan.records import Outcome
from skygrid.worker.wire.messages.from_agent import Greeting

from .failures import FailureCount, count_failures
from .plain_values import Plain, plain_parameters, plain_score
from .shared_work import SharedWork, shared_work
from .slot_use import SlotUse, slot_use

TOP_CANDIDATES = 10
"""Maximum number of rows in the table of the best candidates."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Inputs of `summarise` that the fitted search lacks."""

    name: str
    folder: str
    wall_seconds: float
    """Seconds from the start of this session to the end of the search, refit included."""

    outcomes: Sequence[Outcome]
    """All outcomes of the run, earlier sessions included."""

    nodes: Mapping[str, Greeting] = field(default_factory=dict)
    """Greeting of each node, by node name."""

    holdout_score: Any = None
    """Number, dict of str to number for several scorers, or None."""

    fresh: Sequence[Outcome] = ()
    """Part of `outcomes` from this session."""

    reused: int = 0
    """Number of outcomes from earlier sessions."""

    retries: int = 0
    """Attempts that killed their slot."""

    candidates: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Parameter settings of each round."""


class CandidateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row in the table of the best candidates."""

    index: int
    """Row in ``cv_results_``."""

    rank: int
    mean: float | None
    """None for NaN."""

    std: float | None
    mean_fit_seconds: float | None
    params: dict[str, Plain]


class WarningCount(msgspec.Struct, frozen=True, kw_only=True):
    """A warning of fits and its frequency."""

    category: str
    """Name of the class, as ``ConvergenceWarning``."""

    message: str
    count: int


class NodeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One node and its work."""

    name: str
    fits: int
    fit_seconds: float
    """Slot time of its fits, in seconds."""

    host: str = ""
    cpu: str = ""
    machine: str = ""
    vcpus: int = 0
    memory_bytes: int = 0
    slots: int = 0
    threads_per_slot: int = 0
    versions: dict[str, str] = {}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A finished search as plain data."""

    name: str
    folder: str
    search: str
    """Class of the search, as ``GridSearchCV``."""

    metric: str
    """Scorer that ranks the candidates: ``score``, or a name if there are several."""

    metrics: tuple[str, ...]
    """All scorers."""

    candidates: int
    splits: int
    best_index: int | None
    """None with several scorers and ``refit=False``, as in scikit-learn."""

    best_params: dict[str, Plain] | None
    best_score: float | None
    """Mean of `metric` over the splits for the best candidate."""

    best_std: float | None
    refitted: bool
    refit_seconds: float | None
    holdout_score: float | dict[str, float | None] | None
    top: tuple[CandidateRow, ...]
    fits: int
    """Recorded outcomes."""

    failed: int
    """Fits that raised."""

    killed: int
    """Fits that killed their slot until their retries were spent."""

    retries: int
    reused: int
    wall_seconds: float
    fit_seconds: float
    """Slot time of all outcomes, in seconds."""

    nodes: tuple[NodeSummary, ...]
    warnings: tuple[WarningCount, ...]
    """Most frequent first."""

    failures: tuple[FailureCount, ...] = ()
    """Most frequent first."""

    shared: SharedWork = SharedWork()
    """Numbers of requested, run and shared fits."""

    slot_use: SlotUse | None = None
    """Slot utilisation in the last session; None without fits."""

    bill: Bill | None = None
    """Cost of the nodes; None if nothing was rented."""


def summarise(search: Any, facts: RunFacts) -> Summary:
    """Make the summary of a fitted search.

    Parameters
    ----------
    search : BaseSearchCV
        Fitted search, with one or several scorers, refitted or not.
    facts : RunFacts

    Returns
    -------
    summary : Summary
    """
    results: Mapping[str, Any] = search.cv_results_
    metrics = _metrics(results)
    metric = _ranking_metric(search, metrics)
    best = getattr(search, "best_index_", None)
    # A scorer that returns an empty dict leaves a search without any metric.
    best = None if best is None or not metrics else int(best)
    means, stds = results.get(f"mean_test_{metric}"), results.get(f"std_test_{metric}")
    refit_seconds = getattr(search, "refit_time_", None)
    return Summary(
        search=type(search).__name__,
        metric=metric,
        metrics=metrics,
        candidates=len(results["params"]),
        splits=int(getattr(search, "n_splits_", 0)),
        best_index=best,
        best_params=None if best is None else plain_parameters(results["params"][best]),
        best_score=_score(means, best),
        best_std=_score(stds, best),
        refitted=hasattr(search, "best_estimator_"),
        refit_seconds=None if refit_seconds is None else float(refit_seconds),
        holdout_score=_holdout(facts.holdout_score),
        top=_top(results, metric, best),
        **fields_of(facts),
    )


def fields_of(facts: RunFacts) -> dict[str, Any]:
    """Return the fields of a summary that the search object does not decide."""
    status = Counter(outcome.status for outcome in facts.outcomes)
    slots = {name: node.slots for name, node in facts.nodes.items()}
    return {
        "name": facts.name,
        "folder": facts.folder,
        "fits": len(facts.outcomes),
        "failed": status["failed"],
        "killed": status["killed"],
        "retries": facts.retries,
        "reused": facts.reused,
        "wall_seconds": facts.wall_seconds,
        "fit_seconds": math.fsum(outcome.busy_seconds for outcome in facts.outcomes),
        "nodes": node_summaries(facts.outcomes, facts.nodes),
        "warnings": count_warnings(facts.outcomes),
        "failures": count_failures(facts.outcomes, facts.candidates),
        "shared": shared_work(facts.outcomes),
        "slot_use": slot_use(facts.fresh, slots),
    }


def count_warnings(outcomes: Sequence[Outcome]) -> tuple[WarningCount, ...]:
    """Count equal warnings over all fits, most frequent first."""
    counts = Counter(
        (note.category.rpartition(":")[2], note.message)
        for outcome in outcomes
        for note in outcome.warnings
    )
    return tuple(
        WarningCount(category=category, message=message, count=count)
        for (category, message), count in counts.most_common()
    )


def node_differences(nodes: Sequence[NodeSummary]) -> dict[str, dict[str, list[str]]]:
    """Return differences between nodes that may change floating-point results.

    Returns
    -------
    differences : dict of str to dict of str to list of str
        For each differing fact its values, with the nodes that have each.
    """
    facts: dict[str, dict[str, list[str]]] = {}
    for node in nodes:
        # A node known only by name has no facts.
        if not node.fits or not node.host:
            continue
        own = {"cpu": node.cpu, "machine": node.machine, **node.versions}
        own["threads per fit"] = str(node.threads_per_slot)
        for fact, value in own.items():
            facts.setdefault(fact, {}).setdefault(value, []).append(node.name)
    return {fact: values for fact, values in facts.items() if len(values) > 1}


def _metrics(results: Mapping[str, Any]) -> tuple[str, ...]:
    prefix = "mean_test_"
    return tuple(key.removeprefix(prefix) for key in results if key.startswith(prefix))


def _ranking_metric(search: Any, metrics: tuple[str, ...]) -> str:
    """Return the scorer named by `refit`, else the first; empty without any."""
    refit = getattr(search, "refit", None)
    if isinstance(refit, str) and refit in metrics:
        return refit
    return metrics[0] if metrics else ""


def _score(column: Any, row: int | None) -> float | None:
    return None if column is None or row is None else plain_score(column[row])


def _top(results: Mapping[str, Any], metric: str, best: int | None) -> tuple[CandidateRow, ...]:
    """Return the best candidates; those without a score are not among them."""
    if not metric:
        return ()
    ranks, means = results[f"rank_test_{metric}"], results[f"mean_test_{metric}"]
    stds, times = results[f"std_test_{metric}"], results["mean_fit_time"]
    # In a halving search only candidates of the last iteration saw all data.
    iterations = results.get("iter", [0] * len(ranks))
    scored = [row for row in range(len(ranks)) if row == best or not math.isnan(means[row])]
    scored.sort(key=lambda row: (row != best, -int(iterations[row]), int(ranks[row])))
    return tuple(
        CandidateRow(
            index=row,
            rank=int(ranks[row]),
            mean=plain_score(means[row]),
            std=plain_score(stds[row]),
            mean_fit_seconds=plain_score(times[row]),
            params=plain_parameters(results["params"][row]),
        )
        for row in scored[:TOP_CANDIDATES]
    )


def _holdout(score: Any) -> float | dict[str, float | None] | None:
    if score is None:
        return None
    if isinstance(score, Mapping):
        return {str(name): plain_score(value) for name, value in score.items()}
    return plain_score(score)


def node_summaries(
    outcomes: Sequence[Outcome], nodes: Mapping[str, Greeting]
) -> tuple[NodeSummary, ...]:
    """Return each node with its work, by name; nodes that ran nothing are among them."""
    fits = Counter(outcome.node for outcome in outcomes)
    seconds: dict[str, float] = dict.fromkeys(fits, 0.0)
    for outcome in outcomes:
        seconds[outcome.node] += outcome.busy_seconds
    return tuple(
        _node(name, fits[name], seconds.get(name, 0.0), nodes.get(name))
        for name in sorted({*fits, *nodes})
    )


def _node(name: str, fits: int, seconds: float, greeting: Greeting | None) -> NodeSummary:
    if greeting is None:
        return NodeSummary(name=name, fits=fits, fit_seconds=seconds)
    return NodeSummary(
        name=name,
        fits=fits,
        fit_seconds=seconds,
        host=greeting.host,
        cpu=greeting.cpu,
        machine=greeting.machine,
        vcpus=greeting.vcpus,
        memory_bytes=greeting.memory_bytes,
        slots=greeting.slots,
        threads_per_slot=greeting.threads_per_slot,
        versions=greeting.versions,
    )
