"""A run's folder: made, opened again, kept true, filled."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skygrid import __version__
from skygrid.config import RunConfig, config_to_json
from skygrid.errors import SkygridError, UsageError
from skygrid.files import write_atomic
from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.reports.csv import write_csv
from skygrid.reports.jsonout import add_bill, result_json, write_result
from skygrid.reports.money import Bill, Rental
from skygrid.reports.run_record import NodeRecord, RunRecord, State, driver_mark
from skygrid.reports.summary import Summary
from skygrid.results.saved_search import saved_search
from skygrid.worker.messages import Greeting

JOURNAL = "journal.sqlite"
SEARCH = "search.pkl"
LOGS = "logs"


@dataclass
class RunFolder:
    """The folder of a run that this process drives."""

    path: Path
    record: RunRecord
    journal: SqliteJournal | None = None
    fits_total: int = 0

    @classmethod
    def create(
        cls, config: RunConfig, search_file: Path, run_id: str, started_in: Path = Path()
    ) -> RunFolder:
        """Make the folder of a new run.

        Parameters
        ----------
        config : RunConfig
        search_file : Path
        run_id : str
        started_in : Path, optional
            What relative paths are relative to.

        Raises
        ------
        UsageError
            If a run of that name exists.
        SkygridError
            If the folder cannot be made.
        """
        name = config.name or _made_up_name(search_file)
        path = started_in / config.runs_dir / name
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise UsageError(
                f"there is a run {name} in {config.runs_dir}: choose another --name, or go on "
                f"with it: {resume_line(path)}"
            ) from None
        except OSError as error:
            raise SkygridError(
                f"cannot make {path}: {error.strerror}. Choose another --runs-dir"
            ) from error
        record = RunRecord(
            id=run_id,
            name=name,
            state="running",
            search_file=str((started_in / search_file).resolve()),
            argv=tuple(sys.argv),
            config=config_to_json(config),
            started_at=time.time(),
            driver=driver_mark(),
        )
        return cls(path, record)._begun()

    @classmethod
    def open(cls, path: Path, record: RunRecord, config: RunConfig) -> RunFolder:
        """Take over the folder of a run that was begun before."""
        fresh = msgspec.structs.replace(record, config=config_to_json(config))
        return cls(path, fresh)

    def _begun(self) -> RunFolder:
        self._update(state="running", ended_at=None, error=None, driver=driver_mark())
        return self

    def open_journal(self, parts: Mapping[str, str], versions: Mapping[str, str]) -> SqliteJournal:
        """Open the run's journal for this search.

        Parameters
        ----------
        parts : mapping of str to str
            The search's fingerprint.
        versions : mapping of str to str
            Of the driver.

        Raises
        ------
        FingerprintError
            If the journal is about another search.
        JournalError
            If it cannot be opened, or another process writes it.
        """
        self.journal = SqliteJournal(self.path / JOURNAL)
        self.journal.claim(parts)
        # Only now: as long as another process may hold the journal, its record is not ours.
        self._update(versions={"skygrid": __version__, **versions}, fingerprint=dict(parts))
        self._begun()
        return self.journal

    @property
    def logs(self) -> Path:
        """The folder of the nodes' logs."""
        folder = self.path / LOGS
        folder.mkdir(exist_ok=True)
        return folder

    def round_opened(self, plan: RoundPlan) -> None:
        """A round is about to run."""
        self.fits_total += plan.n_tasks
        self._update(fits_total=self.fits_total)

    def progress(self) -> str:
        """How far the run has come and how to go on, for a person."""
        recorded = self.journal.count() if self.journal else 0
        total = f" of {self.fits_total}" if self.fits_total else ""
        return f"{recorded}{total} fits are recorded; go on with: {resume_line(self.path)}"

    def end(self, state: State, error: str | None) -> None:
        """This session is over."""
        if self.journal is None:
            if self.record.fits_total is None:
                self._update(state=state, error=error, ended_at=time.time())
            return  # the journal was never ours, and so neither is the record
        self._update(
            state=state,
            error=error,
            ended_at=time.time(),
            fits_recorded=self.journal.count(),
            nodes=tuple(_node_records(self.journal)),
        )

    def save(self, search: Any, summary: Summary, outcomes: Sequence[Outcome]) -> str | None:
        """Write the results and end the run as complete.

        Returns
        -------
        problem : str or None
            Why the saved search opens only where the user's modules can be imported.
        """
        data, problem = saved_search(search)
        write_atomic(self.path / SEARCH, data)
        write_csv(self.path, search.cv_results_)
        write_result(self.path, result_json(summary, search.cv_results_, outcomes))
        self.end("complete", None)
        return problem

    def charge(self, bill: Bill, instances: Mapping[str, Rental]) -> None:
        """Write down what the nodes have cost, and which instance each was.

        Parameters
        ----------
        bill : Bill
        instances : mapping of str to Rental
            By the nodes' names.
        """
        rented = {node.name: node for node in self.record.nodes}
        for name, rental in instances.items():
            rented[name] = msgspec.structs.replace(
                rented.get(name, NodeRecord(name=name)), **msgspec.structs.asdict(rental)
            )
        self._update(bill=bill, nodes=tuple(rented.values()))
        if self.record.state == "complete":
            add_bill(self.path, bill)

    def close(self) -> None:
        """Let the journal go."""
        if self.journal is not None:
            self.journal.close()

    def _update(self, **changes: Any) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self.record.write(self.path)


def resume_line(path: Path) -> str:
    """The command that goes on with a run."""
    given = path.name if path.parent == Path("skygrid-runs") else str(path)
    return f"skygrid resume {shlex.quote(given)}"


def _made_up_name(search_file: Path) -> str:
    return f"{search_file.stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def _node_records(journal: SqliteJournal) -> list[NodeRecord]:
    greetings = {
        name: msgspec.json.decode(facts, type=Greeting) for name, facts in journal.nodes().items()
    }
    return [
        NodeRecord(
            name=name,
            host=greeting.host,
            cpu=greeting.cpu,
            slots=greeting.slots,
            versions=greeting.versions,
        )
        for name, greeting in greetings.items()
    ]
