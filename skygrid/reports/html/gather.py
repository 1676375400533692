"""From a run's folder to a `Report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from skygrid.errors import JournalError, SkygridError
from skygrid.journal.plan_values import PlanValues, plan_values
from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome
from skygrid.reports.html.columns import candidates_of, first_rows, n_splits
from skygrid.reports.html.error_groups import failure_groups, warning_groups
from skygrid.reports.html.log_events import LOG_BYTES, attempts_lost, node_events
from skygrid.reports.html.records import Candidates, Report
from skygrid.reports.html.timeline import slot_lines
from skygrid.reports.plain_values import shorten
from skygrid.reports.result_json import FILE_NAME, read_result, wrong_column
from skygrid.reports.run_record import RunRecord
from skygrid.reports.shared_work import shared_work
from skygrid.reports.slot_use import slot_use
from skygrid.reports.summary import NodeSummary, Summary, node_summaries
from skygrid.util.regular_file import read_regular
from skygrid.worker.wire.messages.from_agent import Greeting

SOURCE_BYTES = 2**20
"""Largest search file that a report shows, in bytes."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a journal."""

    outcomes: tuple[Outcome, ...] = ()
    plans: dict[int, PlanValues] = {}
    nodes: dict[str, Greeting] = {}
    notes: tuple[str, ...] = ()


def gather(folder: Path, *, now: float, own: bool = False, diagram: str | None = None) -> Report:
    """Return the report of a run, from its folder alone.

    Works for runs that are still running, were interrupted or failed. No code from the folder is
    executed.

    Parameters
    ----------
    folder : Path
    now : float
        Seconds since the epoch.
    own : bool, default=False
        True if this user made the run. The record of another user's run may name any file as its
        search file, and the report would show it.
    diagram : str, optional
        The estimator's own HTML.

    Raises
    ------
    SkygridError
        If the folder holds no run, or its record cannot be read.
    """
    record = RunRecord.read(folder)
    recorded = read_journal(folder)
    state = record.seen_state()
    summary, results, doubts = (None, {}, ()) if state == "running" else _result(folder)
    log = _text(folder / "logs" / "driver.log", LOG_BYTES) or ""
    source, note = _source(folder, record, own=own)
    outcomes = recorded.outcomes
    offsets = first_rows(outcomes, recorded.plans)
    candidates = candidates_of(outcomes, recorded.plans, results, offsets)
    metric, metrics = _metrics(record, summary, candidates)
    failed = [one for one in outcomes if one.status == "failed"]
    killed = [one for one in outcomes if one.status == "killed"]
    last = max(recorded.plans, default=None)
    sessions = [one for one in outcomes if one.finished_at > 0]
    return Report(
        record=record,
        state=state,
        made_at=now,
        folder=str(folder),
        search=summary.search if summary else record.search.kind,
        metric=metric,
        metrics=metrics,
        candidates=candidates,
        splits=n_splits(outcomes, recorded.plans),
        n_train=() if last is None else recorded.plans[last].n_train,
        n_test=() if last is None else recorded.plans[last].n_test,
        best=_best(candidates, metric, summary),
        holdout=summary.holdout_score if summary else None,
        refit_seconds=summary.refit_seconds if summary else None,
        refitted=bool(summary and summary.refitted),
        wall_seconds=summary.wall_seconds if summary else None,
        fits=len(outcomes),
        failed=len(failed),
        killed=len(killed),
        retries=summary.retries if summary else attempts_lost(log),
        reused=summary.reused if summary else 0,
        fit_seconds=sum(one.busy_seconds for one in outcomes),
        failures=failure_groups(outcomes, candidates.params, offsets),
        warnings=warning_groups(outcomes, candidates.params, offsets),
        slots=slot_lines(sessions, record.started_at),
        use=summary.slot_use if summary else _use(sessions, recorded.nodes),
        shared=summary.shared if summary else shared_work(outcomes),
        saved_seconds=sum(
            max(0.0, one.fit_seconds + one.score_seconds - one.busy_seconds)
            for one in outcomes
            if one.answered_by >= 0 or one.prefix_kept
        ),
        nodes=_nodes(summary, outcomes, recorded.nodes),
        rented=tuple(one for one in record.nodes if one.instance),
        events=node_events(log, {*recorded.nodes, *(one.name for one in record.nodes)}, record),
        source=source,
        source_note=note,
        diagram=diagram,
        has_model=(folder / "search.pkl").is_file(),
        notes=recorded.notes + doubts,
    )


def read_journal(folder: Path) -> Recorded:
    """Return the content of a run's journal; what cannot be read becomes a note."""
    try:
        with closing(SqliteJournal(folder / "journal.sqlite", read_only=True)) as journal:
            pickled, notes = journal.pickled_plans(), list[str]()
            plans = {}
            for round, plan in pickled:
                try:
                    if plan:
                        plans[round] = plan_values(round, plan)
                except ValueError as error:
                    notes.append(str(error))
            return Recorded(
                outcomes=tuple(one for round, _ in pickled for one in journal.outcomes(round)),
                plans=plans,
                nodes={
                    name: msgspec.json.decode(facts, type=Greeting)
                    for name, facts in journal.nodes().items()
                },
                notes=tuple(notes),
            )
    except (JournalError, msgspec.DecodeError) as error:
        return Recorded(notes=(str(error),))


def _result(folder: Path) -> tuple[Summary | None, Mapping[str, Any], tuple[str, ...]]:
    """Return the content of the result document, and notes about it.

    A document that was changed, or has scores that no plot can show, gives way to the journal.
    """
    try:
        summary, results = read_result(folder)
    except SkygridError:  # the journal has everything else
        return None, {}, ()
    wrong = wrong_column(results)
    if wrong is None:
        return summary, results, ()
    return None, {}, (f"{FILE_NAME} has no table of numbers in {shorten(wrong, 60)}.",)


def _metrics(
    record: RunRecord, summary: Summary | None, candidates: Candidates
) -> tuple[str, tuple[str, ...]]:
    if summary is not None:
        return summary.metric, summary.metrics
    metrics = tuple(candidates.scores) or ("score",)
    chosen = record.search.ranked_by
    return (chosen if chosen in metrics else metrics[0]), metrics


def _best(candidates: Candidates, metric: str, summary: Summary | None) -> int | None:
    """Return the row of the best candidate; of those with most splits in a partial report."""
    if summary is not None and summary.best_index is not None:
        return summary.best_index if 0 <= summary.best_index < len(candidates) else None
    means = candidates.means.get(metric, ())
    scored = [row for row, mean in enumerate(means) if mean is not None]
    if not scored:
        return None
    # The last round of a halving search has seen most data.
    return max(
        scored,
        key=lambda row: (candidates.rounds[row], candidates.done[row], means[row], -row),
    )


def _use(outcomes: Sequence[Outcome], nodes: Mapping[str, Greeting]) -> Any:
    return slot_use(outcomes, {name: node.slots for name, node in nodes.items()})


def _nodes(
    summary: Summary | None, outcomes: Sequence[Outcome], nodes: Mapping[str, Greeting]
) -> tuple[NodeSummary, ...]:
    return summary.nodes if summary is not None else node_summaries(outcomes, nodes)


def _source(folder: Path, record: RunRecord, *, own: bool) -> tuple[str | None, str]:
    """Return the text of the search file, and a note if it may have changed since."""
    if (text := _text(folder / "search.py", SOURCE_BYTES, follow=False)) is not None:
        return text, ""
    if not own:
        return None, "The search file is shown for runs that you made yourself."
    path = Path(record.search_file or "")
    if record.search_file is None or (text := _text(path, SOURCE_BYTES)) is None:
        return None, "The search file is no longer there." if record.search_file else ""
    try:
        changed = path.stat().st_mtime > record.started_at
    except OSError:  # it was removed after it was read
        changed = True
    return text, "The file was changed after the run began." if changed else ""


def _text(path: Path, most: int, *, follow: bool = True) -> str | None:
    try:
        return read_regular(path, most, follow=follow).decode(errors="replace")
    except OSError:  # the report goes without it
        return None
