"""Results of a run for people, also of one that has not ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skygrid.journal.plans import unpack
from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.reports.partial_results import partial_results, partial_summary, recorded_seconds
from skygrid.reports.ranking import Results
from skygrid.reports.result_json import read_result
from skygrid.reports.run_record import RunRecord
from skygrid.reports.summary import RunFacts, Summary
from skygrid.run.folder import JOURNAL
from skygrid.run.trust import examine
from skygrid.worker.wire.messages.from_agent import Greeting


@dataclass(frozen=True, kw_only=True)
class ShownResults:
    """Results of a run as far as there are any."""

    summary: Summary
    results: Results
    note: str = ""
    """Reason why parameters are missing."""


def shown_results(folder: Path, record: RunRecord) -> ShownResults | None:
    """Read the results of a run from its files; None if no fit is recorded.

    Parameters
    ----------
    folder : Path
    record : RunRecord
        Content of its ``run.json``.

    Raises
    ------
    SkygridError
        If a file cannot be read.
    """
    if record.state != "running":
        summary, results = read_result(folder)
        if summary is not None:
            # The folder may have been renamed, moved or copied since.
            here = msgspec.structs.replace(summary, name=folder.name, folder=str(folder))
            return ShownResults(summary=here, results=results)
    if not (folder / JOURNAL).is_file():
        return None
    return _from_journal(folder, record)


def _from_journal(folder: Path, record: RunRecord) -> ShownResults | None:
    with closing(SqliteJournal(folder / JOURNAL, read_only=True)) as journal:
        stored = journal.stored_plans()
        outcomes = [one for round in stored for one in journal.outcomes(round)]
        nodes = {
            name: msgspec.json.decode(facts, type=Greeting)
            for name, facts in journal.nodes().items()
        }
    if not outcomes:
        return None
    plans, note = _plans(folder, record, stored)
    splits = max((len(plan.splits) for plan in plans.values()), default=0)
    candidates = _candidates(plans, outcomes)
    facts = RunFacts(
        name=folder.name,
        folder=str(folder),
        wall_seconds=recorded_seconds(record, outcomes, time.time()),
        outcomes=outcomes,
        nodes=nodes,
        candidates=candidates,
    )
    return ShownResults(
        summary=partial_summary(facts, record.search.kind, splits, record.search.ranked_by),
        results=partial_results(candidates, outcomes, splits),
        note=note,
    )


def _plans(
    folder: Path, record: RunRecord, stored: Mapping[int, bytes]
) -> tuple[dict[int, RoundPlan], str]:
    """Return the plans that can be read safely, and the reason why others cannot."""
    foreign = examine(folder, record)  # to unpickle the plan of someone else would run their code
    if foreign is not None:
        return {}, f"parameters are not shown, because {folder} may not be yours: {foreign}"
    plans, note = {}, ""
    for round, pickled in stored.items():
        if not pickled:
            note = "parameters of large rounds are shown once the run has ended"
            continue
        try:
            plans[round] = unpack(round, pickled)
        except Exception as error:  # noqa: BLE001  # classes of the search file are not loaded
            said = f"{type(error).__name__}: {error}"
            note = f"parameters are shown once the run has ended ({said})"
    return plans, note


def _candidates(
    plans: Mapping[int, RoundPlan], outcomes: Sequence[Outcome]
) -> dict[int, Sequence[Mapping[str, Any]]]:
    """Return the candidates of each round; empty settings where the plan is not known."""
    sizes: dict[int, int] = {}
    for one in outcomes:
        sizes[one.round] = max(sizes.get(one.round, 0), one.candidate + 1)
    return {
        round: plans[round].candidates if round in plans else [{}] * size
        for round, size in sizes.items()
    }
