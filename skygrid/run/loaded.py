"""A run's folder as an object of Python: `skygrid.load`."""

from __future__ import annotations

import os
import pickle
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skygrid.config import load_config
from skygrid.errors import SkygridError, UsageError
from skygrid.journal.plans import unpack
from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.reports.failures import FailureCount
from skygrid.reports.frames import data_frame
from skygrid.reports.notebook import best_facts, score_text, summary_html, table_html
from skygrid.reports.partial_results import partial_results, partial_summary, recorded_seconds
from skygrid.reports.result_json import (
    FILE_NAME,
    HINT,
    columns_json,
    is_about,
    read_result,
    read_summary,
)
from skygrid.reports.run_record import RunRecord, State
from skygrid.reports.summary import RunFacts, Summary
from skygrid.run.folder import JOURNAL, SEARCH, resume_line
from skygrid.run.names import find_run
from skygrid.run.report import write_report
from skygrid.run.trust import examine
from skygrid.worker.wire.messages.from_agent import Greeting


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """Content of a journal."""

    plans: Mapping[int, RoundPlan]
    """Without plans that are too large to keep, or whose classes cannot be imported."""

    outcomes: Sequence[Outcome]
    nodes: Mapping[str, Greeting]


class Run:
    """A run and its results, read from its folder. Made by `skygrid.load`.

    A run that was interrupted, or that still runs, has the results of the fits that are recorded:
    `results`, `summary` and `failures` read them anew each time.

    Attributes
    ----------
    path : Path
        The run's folder.
    """

    def __init__(self, path: Path, *, trust: bool = False) -> None:
        self.path = path
        self._trusted = trust

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.name

    @property
    def record(self) -> RunRecord:
        """Content of ``run.json``: what was asked, versions, times, cost."""
        return RunRecord.read(self.path)

    @property
    def state(self) -> State:
        """running, complete, failed, interrupted or stopped."""
        return self.record.seen_state()

    @property
    def search(self) -> Any:
        """The fitted search, of scikit-learn's own class. Each access opens ``search.pkl`` anew.

        Raises
        ------
        UsageError
            If the run is not complete, or someone else made the folder and `trust` is False.
        """
        record = self.record
        path = self.path / SEARCH
        if not path.is_file():
            raise UsageError(self._without_search(record))
        self._require_trust(record, SEARCH)
        with path.open("rb") as file:
            return pickle.load(file)

    @property
    def results(self) -> Any:
        """Results of all candidates as a DataFrame of pandas, or of polars without pandas.

        The columns are those of ``cv_results_``. An incomplete run has the column
        ``splits_scored`` too, and means over the recorded splits; it has no ranks.

        Raises
        ------
        UsageError
            If neither library is installed, or someone else made an incomplete run.
        """
        if self._has_results():
            table = read_result(self.path)[1]
            try:
                return data_frame(table)
            except (TypeError, ValueError, OverflowError) as error:  # someone has changed the file
                path = self.path / FILE_NAME
                raise SkygridError(f"cannot read {path}: {error}. {HINT}") from error
        found = self._recorded()
        table = partial_results(_candidates(found), found.outcomes, _splits(found))
        return data_frame(columns_json(table))

    @property
    def summary(self) -> Summary:
        """Best candidates, counts, times, nodes, warnings: what ``skygrid show`` prints."""
        if self._has_results():
            summary = read_summary(self.path)
            assert summary is not None, "the file is there"
            return msgspec.structs.replace(summary, name=self.name, folder=str(self.path))
        found, record = self._recorded(), self.record
        facts = RunFacts(
            name=self.name,
            folder=str(self.path),
            wall_seconds=recorded_seconds(record, found.outcomes, time.time()),
            outcomes=found.outcomes,
            nodes=found.nodes,
            candidates=_candidates(found),
        )
        return partial_summary(facts, record.search.kind, _splits(found), record.search.ranked_by)

    @property
    def failures(self) -> tuple[FailureCount, ...]:
        """Errors of failed fits, the most frequent first, each with its first parameters."""
        return self.summary.failures

    def report(self, output: str | os.PathLike[str] | None = None) -> Path:
        """Write the run as a page of HTML, as ``skygrid report`` does.

        Parameters
        ----------
        output : path, optional
            The file to write. Default: ``report.html`` in the run's folder.

        Returns
        -------
        path : Path

        Raises
        ------
        FolderError
            If the file cannot be written.
        """
        return write_report(self.path, None if output is None else Path(output))

    def __repr__(self) -> str:
        try:
            summary = self.summary
        except SkygridError:  # a repr describes a damaged run too
            return f"<skygrid.Run {self.name}>"
        best = "" if summary.best_score is None else f", best {score_text(summary.best_score)}"
        return f"<skygrid.Run {self.name}: {self.state}, {summary.fits} fits{best}>"

    def _repr_html_(self) -> str:
        """Return the run as HTML, which notebooks show."""
        record, state = self.record, self.state
        total = "?" if record.fits_total is None else str(record.fits_total)
        try:
            summary = self.summary
        except SkygridError as error:
            return table_html(self.name, [("state", state), ("error", str(error))])
        facts = [("state", state), ("fits", f"{summary.fits}/{total}"), *best_facts(summary)]
        if record.error:
            facts.append(("error", record.error))
        return table_html(f"{summary.search or 'run'} {self.name}", facts) + summary_html(summary)

    def _has_results(self) -> bool:
        """Return whether the run has its results in a file."""
        state = self.record.state
        return state != "running" and is_about(self.path, state)

    def _without_search(self, record: RunRecord) -> str:
        state = record.seen_state()
        if state == "running":
            return f"run {self.name} has no fitted search yet: it still runs"
        if state == "failed":
            return f"run {self.name} has no fitted search: it failed: {record.error}"
        if state == "complete":
            return f"{self.path / SEARCH} is gone; {resume_line(self.path, record)} writes it anew"
        line = resume_line(self.path, record)
        return f"run {self.name} has no fitted search: it was {state}. Go on with: {line}"

    def _recorded(self) -> _Recorded:
        path = self.path / JOURNAL
        if not path.is_file():
            return _Recorded(plans={}, outcomes=(), nodes={})
        self._require_trust(self.record, JOURNAL)
        with closing(SqliteJournal(path, read_only=True)) as journal:
            rounds = journal.stored_plans()
            outcomes = [one for round in rounds for one in journal.outcomes(round)]
            nodes = {
                name: msgspec.json.decode(facts, type=Greeting)
                for name, facts in journal.nodes().items()
            }
        plans = {round: plan for round, data in rounds.items() if (plan := _plan(round, data))}
        return _Recorded(plans=plans, outcomes=outcomes, nodes=nodes)

    def _require_trust(self, record: RunRecord, file: str) -> None:
        """Refuse to unpickle a file of someone else: that would run code of theirs."""
        reason = None if self._trusted else examine(self.path, record)
        if reason is not None:
            raise UsageError(
                f"{file} of run {self.name} can run code when it is opened, and {reason}. "
                f"If you trust it: skygrid.load({str(self.path)!r}, trust=True)"
            )


def load(
    run: str | os.PathLike[str],
    *,
    runs_dir: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> Run:
    """Open a run: its search, results, summary and failures.

    Parameters
    ----------
    run : str or path
        Name of the run, a unique beginning of the name, or the run's folder.
    runs_dir : path, optional
        Folder of all runs. Default: as on the command line, ``skygrid-runs``.
    trust : bool, default=False
        True: open pickles of a folder that someone else made, or that was moved here.

    Returns
    -------
    run : Run

    Raises
    ------
    UsageError
        If no run or more than one matches, or a later version of skygrid wrote it.
    """
    given = None if runs_dir is None else Path(runs_dir)
    config = load_config({"runs_dir": given}, os.environ, cwd=Path.cwd())
    path = find_run(os.fspath(run), config.runs_dir)
    RunRecord.read(path)  # an unreadable run is refused here
    return Run(path, trust=trust)


def _plan(round: int, pickled: bytes) -> RoundPlan | None:
    """Return a plan; None for one that cannot be read, whose candidates stay unnamed."""
    if not pickled:
        return None
    try:
        return unpack(round, pickled)
    except Exception as error:  # noqa: BLE001  # a pickle may raise anything
        warnings.warn(
            f"the parameters of round {round + 1} cannot be shown, because their classes cannot be "
            f"imported here ({type(error).__name__}: {error}): import the search file first",
            stacklevel=2,
        )
        return None


def _candidates(found: _Recorded) -> dict[int, Sequence[Mapping[str, Any]]]:
    """Return the candidates of each round; empty settings where the plan is not known."""
    known: dict[int, Sequence[Mapping[str, Any]]] = {
        round: plan.candidates for round, plan in found.plans.items()
    }
    for one in found.outcomes:
        if one.round not in found.plans:
            rows = [one.candidate + 1, len(known.get(one.round, ()))]
            known[one.round] = [{}] * max(rows)
    return known


def _splits(found: _Recorded) -> int:
    return max((len(plan.splits) for plan in found.plans.values()), default=0)
