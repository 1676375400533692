"""The folder of a run: record, journal, logs and results."""

from __future__ import annotations

import logging
import re
import secrets
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from skygrid._version import __version__
from skygrid.config import RunConfig, config_to_json
from skygrid.environment.credentials import masked, separate
from skygrid.errors import (
    DamagedJournalError,
    FolderError,
    JournalError,
    SkygridError,
    UsageError,
)
from skygrid.journal.sqlite import SqliteJournal
from skygrid.nodes.records import Bill, RentedNode
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.reports.csv import write_csv
from skygrid.reports.parquet import write_parquet
from skygrid.reports.result_json import FILE_NAME, add_bill, amend, result_json, write_result
from skygrid.reports.run_record import (
    NodeRecord,
    RunRecord,
    SearchFacts,
    State,
    driver_mark,
)
from skygrid.reports.summary import Summary
from skygrid.run.secrets_file import remove_secrets, write_secrets
from skygrid.run.source_copy import copy_search_file, origin_of
from skygrid.run.trust import examine, mark_own, mark_plan
from skygrid.sklearn_search.saved_search import save_search
from skygrid.util.atomic_file import atomic_file, remove_leftovers
from skygrid.worker.wire.messages.from_agent import Greeting

LOGGER = logging.getLogger(__name__)

JOURNAL = "journal.sqlite"
SEARCH = "search.pkl"
LOGS = "logs"


@dataclass
class RunFolder:
    """The folder of a run that this process drives.

    The open journal is the lock of the run: only the process that has it writes the folder, and
    uses or ends the run's nodes. So it is opened before anything else of the run is touched.
    """

    path: Path
    record: RunRecord
    journal: SqliteJournal
    private: Mapping[str, Any] = field(default_factory=dict)
    """Settings with credentials, which the record has only with a mask."""

    fits_total: int = 0

    @classmethod
    def create(
        cls, config: RunConfig, search_file: Path | None, run_id: str, started_in: Path = Path()
    ) -> RunFolder:
        """Make the folder of a new run.

        Parameters
        ----------
        config : RunConfig
        search_file : Path or None
            None: the search comes from a Python program.
        run_id : str
        started_in : Path, optional
            Base of relative paths.

        Raises
        ------
        UsageError
            If a run of that name exists.
        FolderError
            If the folder cannot be made.
        """
        stem = Path("python") if search_file is None else search_file
        path = _make_folder(started_in / config.runs_dir, config.name, stem)
        settings, private = separate(config_to_json(config))
        source = None if search_file is None else (started_in / search_file).resolve()
        origin = None
        if source is not None:
            copy_search_file(source, path)
            origin = origin_of(source)
        record = RunRecord(
            id=run_id,
            name=path.name,
            state="running",
            search_file=None if source is None else str(source),
            commit=None if origin is None else origin.commit,
            commit_changed=origin is not None and origin.changed,
            argv=tuple(map(masked, sys.argv)),
            config=settings,
            started_at=time.time(),
            driver=driver_mark(),
        )
        folder = cls(path, record, _open_journal(path, record), private)
        folder._begin()
        return folder

    @classmethod
    def open(cls, path: Path, record: RunRecord, config: RunConfig) -> RunFolder:
        """Take the folder of an earlier run; leave its files unchanged, but for temporary ones.

        Raises
        ------
        JournalError
            If the journal cannot be opened or is damaged, or another process drives the run.
        """
        settings, private = separate(config_to_json(config))
        fresh = msgspec.structs.replace(record, config=settings)
        journal = _open_journal(path, record)
        remove_leftovers(path)
        return cls(path, fresh, journal, private)

    def _begin(self) -> None:
        write_secrets(self.path, self.private)
        mark_own(self.path, self.record)  # first: a record without a mark is a stranger's
        self._update(state="running", ended_at=None, error=None, driver=driver_mark())

    def begin(
        self,
        parts: Mapping[str, str],
        versions: Mapping[str, str],
        facts: SearchFacts | None = None,
    ) -> SqliteJournal:
        """Begin a session: claim the journal for this search.

        Parameters
        ----------
        parts : mapping of str to str
            The search's fingerprint.
        versions : mapping of str to str
            Versions on the driver.
        facts : SearchFacts, optional
            For reports.

        Raises
        ------
        FingerprintError
            If the journal is about another search.
        """
        self.journal.claim(parts)
        self._begin()
        self._update(
            versions={"skygrid": __version__, **versions},
            fingerprint=dict(parts),
            search=facts or self.record.search,
        )
        return self.journal

    @property
    def logs(self) -> Path:
        """Folder of the logs; made if it is missing."""
        folder = self.path / LOGS
        folder.mkdir(exist_ok=True)
        return folder

    def round_opened(self, plan: RoundPlan) -> None:
        """Count the fits of a round that is about to run."""
        if digest := self.journal.plan_digest(plan.round):
            mark_plan(self.path, self.record.id, plan.round, digest)
        self.fits_total += plan.n_tasks
        self._update(fits_total=self.fits_total)

    def progress(self, options: str = "") -> str:
        """Return the number of recorded fits and the command that resumes the run, as text."""
        total = f" of {self.fits_total}" if self.fits_total else ""
        try:
            recorded = f"{self.journal.count()}{total} fits are recorded"
        except JournalError:  # the error that ends the run tells more
            recorded = "recorded fits are kept"
        line = resume_line(self.path, self.record)
        return f"{recorded}; go on with: {line}{options if self.record.search_file else ''}"

    def end(self, state: State, error: str | None) -> None:
        """Record the end of this session."""
        error = None if error is None else masked(error)
        self._update(
            state=state,
            error=error,
            ended_at=time.time(),
            fits_recorded=self.journal.count(),
            nodes=tuple(_node_records(self.journal)),
        )

    def end_early(self, state: State, error: str) -> None:
        """Record the end of a session that an error ends, if the folder can be written.

        A session without a recorded end is found by its process, which is gone.
        """
        LOGGER.debug("session %s: %s", state, error)
        try:
            self.end(state, error)
        except FolderError as problem:
            LOGGER.warning("%s", problem)

    def save(
        self,
        search: Any,
        summary: Summary,
        outcomes: Sequence[Outcome],
        trouble: SkygridError | None = None,
    ) -> str | None:
        """Write the results and end the run as complete.

        Parameters
        ----------
        search : BaseSearchCV
        summary : Summary
        outcomes : sequence of Outcome
        trouble : SkygridError, optional
            Error that the command ends with although the run is complete.

        Returns
        -------
        problem : str or None
            Reason why the saved search opens only where the user's modules can be imported.
        """
        with atomic_file(self.path / SEARCH) as file:
            problem = save_search(search, file)
        error, code = (None, 0) if trouble is None else (str(trouble), trouble.exit_code)
        self.save_results(search.cv_results_, summary, outcomes, error=error, exit_code=code)
        self.end("complete", None)
        remove_secrets(self.path)
        return problem

    def save_results(
        self,
        results: Mapping[str, Any],
        summary: Summary,
        outcomes: Sequence[Outcome],
        *,
        state: State = "complete",
        error: str | None = None,
        exit_code: int = 0,
    ) -> None:
        """Write ``cv_results.csv``, ``cv_results.parquet`` and ``result.json``."""
        write_csv(self.path, results)
        write_parquet(self.path, results)
        error = None if error is None else masked(error)
        text = result_json(
            summary, results, outcomes, state=state, error=error, exit_code=exit_code
        )
        write_result(self.path, text)

    @property
    def has_document(self) -> bool:
        """True if the run has a ``result.json``, of this session or an earlier one."""
        return (self.path / FILE_NAME).is_file()

    def amend(self, state: State, error: str, exit_code: int) -> None:
        """Write the end of a session into ``result.json``."""
        amend(self.path, state=state, error=masked(error), exit_code=exit_code)

    def add_trouble(self, trouble: str, exit_code: int) -> None:
        """Write into ``result.json`` that something may be left, after the error of the run."""
        before = self.record.error
        text = trouble if before is None else f"{before}\n{trouble}"
        self.amend(self.record.state, text, exit_code)

    def charge(self, bill: Bill, rented: Iterable[RentedNode]) -> None:
        """Record the cost of the nodes, and the instance of each."""
        nodes = {node.name: node for node in self.record.nodes}
        for one in rented:
            nodes[one.node] = msgspec.structs.replace(
                nodes.get(one.node) or NodeRecord(name=one.node),
                instance=one.instance,
                instance_type=one.instance_type,
                zone=one.zone,
                market=one.market,
            )
        self._update(bill=bill, nodes=tuple(nodes.values()))
        if self.has_document:
            add_bill(self.path, bill)

    @property
    def given(self) -> str:
        """The shortest argument by which commands find the run: its name, or its folder."""
        return _given(self.path)

    def close(self) -> None:
        """Close the journal, and so let other processes drive the run. No effect a second time."""
        self.journal.close()

    def _update(self, **changes: Any) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self.record.write(self.path)


def salvage_run(path: Path) -> str:
    """Replace a damaged journal by one with its intact rows.

    Parameters
    ----------
    path : Path
        The run's folder.

    Returns
    -------
    said : str
        Message for the user.

    Raises
    ------
    JournalError
        If another process writes the journal, or the folder cannot be written.
    """
    from skygrid.journal.salvage import salvage

    record = RunRecord.read(path)
    try:
        _open_journal(path, record).close()
    except DamagedJournalError:
        kept = salvage(path / JOURNAL, record.fingerprint)
    else:
        return f"the journal of {record.name} is intact; nothing needs to be salvaged"
    # Rows are lost, so even a complete run has fits to run again.
    msgspec.structs.replace(record, state="interrupted").write(path)
    with closing(SqliteJournal(path / JOURNAL, read_only=True)) as journal:
        return f"kept {journal.count()} intact outcomes of {record.name}; the damaged file: {kept}"


def _open_journal(path: Path, record: RunRecord) -> SqliteJournal:
    """Open the journal of a run; the error of a damaged one names the command that salvages."""
    try:
        journal = SqliteJournal(path / JOURNAL)
        if record.fingerprint and not journal.claimed:
            journal.close()
            raise DamagedJournalError(
                f"the journal {path / JOURNAL} is empty, but the run has used it before. "
                "Restore the file from a copy, or resume the run with --salvage to begin it anew."
            )
    except DamagedJournalError as error:
        hint = f"Keep what is intact: {resume_line(path, record)} --salvage"
        raise DamagedJournalError(f"{error}\n{hint}") from error
    return journal


def resume_line(path: Path, record: RunRecord) -> str:
    """Return the command that resumes a run, with ``--trust`` if it would ask."""
    if record.search_file is None:
        return program_line(record)
    try:
        asks = examine(path, record) is not None
    except JournalError:  # the error that ends the run tells more
        asks = False
    return f"skygrid resume {shlex.quote(_given(path))}{' --trust' if asks else ''}"


def _given(path: Path) -> str:
    return path.name if path.parent == Path("skygrid-runs") else str(path)


def program_line(record: RunRecord) -> str:
    """Return the call that resumes a run of a Python program."""
    return f"skygrid.fit(search, X, y, name={record.name!r}, resume=True)"


def _make_folder(runs_dir: Path, name: str | None, search_file: Path) -> Path:
    """Make the folder of a new run, which only its owner may enter."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        while True:
            path = runs_dir / (name or _made_up_name(search_file))
            if not path.exists():
                break
            if name is not None:
                raise _taken(path)
        path.mkdir(mode=0o700)
    except OSError as error:
        raise FolderError(
            f"cannot make a folder in {runs_dir}: {error.strerror}. Choose another --runs-dir"
        ) from error
    return path


def refuse_taken_name(config: RunConfig) -> None:
    """Refuse a name that a run has already, before anything is loaded or rented.

    Raises
    ------
    UsageError
        If the folder of a new run cannot get the chosen name.
    """
    if config.name is not None and (path := config.runs_dir / config.name).exists():
        raise _taken(path)


def _taken(path: Path) -> UsageError:
    """Return the error of a run whose name is taken; it advises to resume only what has ended."""
    try:
        record = RunRecord.read(path)
    except SkygridError:  # the folder holds no readable run, so nothing can be resumed
        return UsageError(f"there is {path} already: choose another --name")
    alive = record.seen_state() == "running"
    advice = "; it still runs" if alive else f", or go on with it: {resume_line(path, record)}"
    return UsageError(f"there is a run {path.name} in {path.parent}: choose another --name{advice}")


def _made_up_name(search_file: Path) -> str:
    """Return the name of the search file with the time and a random suffix.

    The suffix separates runs that start in the same second. Characters that `--name` refuses become
    dashes, so that the name needs no quotes in a shell.
    """
    stem = re.sub(r"[^\w.-]+", "-", search_file.stem, flags=re.ASCII).lstrip(".-_")[:60] or "run"
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


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
