"""The journal on disk: one SQLite file."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from skygrid.errors import DamagedJournalError, JournalError
from skygrid.journal.fingerprints import check_fingerprint, check_round
from skygrid.journal.intact import Examination
from skygrid.journal.rows import from_row, is_intact, seal, to_row, unseal
from skygrid.journal.schema import (
    ADD,
    APPLICATION_ID,
    BEGIN,
    CHECK_PAGES,
    COMMIT,
    COUNT_OUTCOMES,
    CREATE,
    READ_APPLICATION_ID,
    READ_FINGERPRINT,
    READ_N_OUTCOMES,
    READ_NODES,
    READ_OUTCOMES,
    READ_PAGE_SIZE,
    READ_PLANS,
    READ_ROUND,
    READ_SCHEMA,
    READ_VERSION,
    ROLLBACK,
    SCHEMA_VERSION,
    SYNC_EVERY_COMMIT,
    USE_WAL,
)
from skygrid.journal.writer_lock import WriterLock
from skygrid.plan.records import Outcome, RoundPlan

_NEXT_STEPS = {
    sqlite3.SQLITE_FULL: "the disk is full. Make room and resume the run",
    sqlite3.SQLITE_IOERR: (
        "the disk failed: it is full, over a quota, or broken. Make room or repair it and "
        "resume the run"
    ),
    sqlite3.SQLITE_BUSY: "another program keeps it locked. Close that program and try again",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked. Close that program and try again",
    sqlite3.SQLITE_READONLY: (
        "the file or its folder is read-only. Allow writing there, or copy the run's folder to "
        "a place that can be written"
    ),
    sqlite3.SQLITE_PERM: "permission is missing. Allow reading and writing of it",
    sqlite3.SQLITE_CANTOPEN: (
        "the file cannot be opened or its folder cannot be written. Check the path and its "
        "permissions, or copy the run's folder to a place that can be written"
    ),
}

_DAMAGE = {
    sqlite3.SQLITE_NOTADB: "it is not a journal: something else overwrote it",
    sqlite3.SQLITE_CORRUPT: "its pages are truncated or damaged",
    sqlite3.SQLITE_ERROR: "its tables are damaged",
}


class SqliteJournal:
    """Implements `skygrid.journal.interface.Journal` in one file.

    Readers work while one process writes. The writer holds ``<path>.lock`` until it closes the
    journal or ends; it examines every row before it adds any.

    Parameters
    ----------
    path
        The file; a writer creates it.
    busy_timeout
        Seconds to wait for another program that keeps the file locked.

    Raises
    ------
    DamagedJournalError
        The message says how many outcomes are intact.
    JournalError
        The file cannot be opened, is no journal, has another version, or another process writes it.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_timeout: float = 5.0) -> None:
        self._path = Path(path)
        self._name = f"the journal {self._path}"
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._lock: WriterLock | None = None
        self._check_place()
        try:
            if not read_only:
                self._lock = writer_lock(self._path)
            self._open(busy_timeout)
        except BaseException:
            self.close()
            raise

    def claim(self, fingerprint: Mapping[str, str]) -> None:
        stored = self._fingerprint()
        if stored:
            check_fingerprint(self._name, stored, fingerprint)
        else:
            self.adopt(("fingerprint", seal(*part)) for part in fingerprint.items())

    @property
    def claimed(self) -> bool:
        """True once the journal has the fingerprint of its search."""
        return bool(self._fingerprint())

    def settle(self, plan: RoundPlan) -> RoundPlan:
        # These import NumPy, which must not delay the start of nodes.
        from skygrid.journal.plans import pack, unpack

        with self._access("read") as connection:
            row = connection.execute(READ_ROUND, (plan.round,)).fetchone()
            _, pickled, digest = (None, b"", None) if row is None else unseal(row)
        if pickled:
            return unpack(plan.round, pickled)
        pickled, now = pack(plan)
        if digest is None:
            self.adopt([("rounds", seal(plan.round, pickled, now))])
        else:
            check_round(self._name, plan.round, digest, now)
        return plan

    def stored_plans(self) -> dict[int, bytes]:
        """Return the pickled plan of each round; b"" for one that is too large to keep."""
        with self._access("read") as connection:
            rows = (unseal(row) for row in connection.execute(READ_PLANS))
            return {int(row[0]): row[1] for row in rows}

    def plan_digest(self, round: int) -> str | None:
        """Return the digest of the pickled plan of a round, as `plan_digests`; None: no pickle."""
        with self._access("read") as connection:
            row = connection.execute(READ_ROUND, (round,)).fetchone()
            return None if row is None or not row[1] else _sha256(row[1])

    def record_node(self, node: str, facts: bytes) -> None:
        self.adopt([("nodes", seal(node, facts))])

    def nodes(self) -> dict[str, bytes]:
        with self._access("read") as connection:
            return dict(unseal(row) for row in connection.execute(READ_NODES))

    def append(self, outcomes: Sequence[Outcome]) -> None:
        rows = [to_row(outcome) for outcome in outcomes]
        with self._transaction() as connection:
            connection.executemany(ADD["outcomes"], rows)

    def outcomes(self, round: int) -> list[Outcome]:
        with self._access("read") as connection:
            return [from_row(row) for row in connection.execute(READ_OUTCOMES, (round,))]

    def count(self) -> int:
        with self._access("read") as connection:
            return int(connection.execute(COUNT_OUTCOMES).fetchone()[0])

    def adopt(self, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """Store rows unchanged, each with the name of its table; all or none."""
        with self._transaction() as connection:
            for table, row in rows:
                connection.execute(ADD[table], row)

    def _fingerprint(self) -> dict[str, str]:
        with self._access("read") as connection:
            return dict(unseal(row) for row in connection.execute(READ_FINGERPRINT))

    def close(self) -> None:
        try:
            if self._connection is not None:
                self._connection.close()
        finally:
            self._connection = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    # ---- opening -------------------------------------------------------------------------------

    def _check_place(self) -> None:
        if self._read_only and not self._path.exists():
            raise JournalError(
                f"there is no journal at {self._path}. Check the run's name and --runs-dir."
            )
        if not self._path.parent.is_dir():
            raise JournalError(
                f"cannot make {self._name}: there is no folder {self._path.parent}. "
                "Make it, or choose another with --runs-dir."
            )
        if self._path.exists() and not self._path.is_file():
            raise JournalError(f"{self._name} is not a regular file. Move it away and try again.")

    def _open(self, busy_timeout: float) -> None:
        self._connect("mode=ro" if self._read_only else "mode=rwc", busy_timeout)
        try:
            self._prepare()
        except JournalError as error:
            if not (self._read_only and self._file_is_all(error.__cause__)):
                raise
            # In WAL mode SQLite writes beside the file even to read it. If the folder is read-only
            # and no log is left, the file alone is the whole journal.
            self._connect("mode=ro&immutable=1", busy_timeout)
            self._prepare()

    def _connect(self, options: str, busy_timeout: float) -> None:
        if self._connection is not None:
            self._connection.close()
        with self._explained("open"):
            self._connection = connect(self._path, options, busy_timeout)

    def _prepare(self) -> None:
        with self._access("open") as connection:
            version = connection.execute(READ_VERSION).fetchone()[0]
            ours = connection.execute(READ_APPLICATION_ID).fetchone()[0] == APPLICATION_ID
            schema = connection.execute(READ_SCHEMA).fetchall()
        if not schema and not ours and version == 0:
            self._create()
            schema = _schema()
        elif not ours:
            raise JournalError(
                f"{self._name} is an SQLite file of another program. Restore the journal from a "
                "copy, or start a new run."
            )
        elif version != SCHEMA_VERSION:
            raise JournalError(
                f"{self._name} has version {version}; this skygrid reads version "
                f"{SCHEMA_VERSION}. Use the skygrid that the run was started with."
            )
        self._check_pages()
        if schema != _schema():
            raise self._damaged(_DAMAGE[sqlite3.SQLITE_ERROR])
        if not self._read_only:
            self._check_rows()

    def _create(self) -> None:
        if self._read_only:
            raise JournalError(
                f"{self._name} holds nothing yet. Resume the run, or start a new one."
            )
        with self._access("create") as connection:
            connection.execute(USE_WAL)
        with self._transaction() as connection:
            for statement in CREATE:
                connection.execute(statement)

    def _check_pages(self) -> None:
        with self._access("open") as connection:
            if not self._read_only:
                connection.execute(USE_WAL)
                connection.execute(SYNC_EVERY_COMMIT)
            whole = self._ends_with_a_page(connection.execute(READ_PAGE_SIZE).fetchone()[0])
            sound = whole and connection.execute(CHECK_PAGES).fetchone()[0] == "ok"
        if not sound:
            raise self._damaged(_DAMAGE[sqlite3.SQLITE_CORRUPT])

    def _check_rows(self) -> None:
        with self._access("open") as connection:
            examination = Examination(connection)
            for _ in examination.rows():
                pass
        if examination.problems:
            raise self._damaged(examination.problems[0])

    def _ends_with_a_page(self, page_size: int) -> bool:
        # SQLite reads a truncated last page as zeros. While there is a log, it may hold the whole
        # page.
        return self._path.stat().st_size % page_size == 0 or _has_log(self._path)

    def _file_is_all(self, cause: BaseException | None) -> bool:
        return (
            isinstance(cause, sqlite3.Error)
            and _code(cause) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            and not os.access(self._path.parent, os.W_OK)
            and not _has_log(self._path)
        )

    # ---- using ---------------------------------------------------------------------------------

    @contextmanager
    def _access(self, action: str) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise JournalError(f"{self._name} is closed; open the run again")
        with self._explained(action):
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction; on disk at the end."""
        if self._read_only:
            raise JournalError(f"{self._name} was opened for reading only; resume the run to write")
        with self._access("write") as connection:
            connection.execute(BEGIN)
            try:
                yield connection
                connection.execute(COMMIT)
            except BaseException:
                if connection.in_transaction:
                    connection.execute(ROLLBACK)
                raise

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _code(error) in _DAMAGE:
                raise self._damaged(f"{_DAMAGE[_code(error)]} ({error})") from error
            advice = _NEXT_STEPS.get(_code(error), f"{error}. Check the file and try again")
            raise JournalError(f"cannot {action} {self._name}: {advice}. ({error})") from error
        except UnicodeDecodeError as error:
            raise self._damaged(_DAMAGE[sqlite3.SQLITE_ERROR]) from error
        except msgspec.DecodeError as error:
            raise self._damaged(f"{error} is damaged") from error

    def _damaged(self, problem: str) -> DamagedJournalError:
        """Return an error that names the damage and the number of intact outcomes."""
        intact, recorded = 0, None
        if self._connection is not None:
            examination = Examination(self._connection)
            intact = sum(table == "outcomes" for table, _ in examination.rows())
            recorded = examination.n_outcomes
        of = "" if recorded is None else f" of {recorded}"
        return DamagedJournalError(
            f"{self._name} is damaged: {problem}. {intact}{of} recorded outcomes can be "
            "kept. Restore the file from a copy, or resume the run with --salvage."
        )


def _has_log(journal: Path) -> bool:
    """Return whether outcomes may be in the log beside the journal."""
    log = journal.with_name(journal.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def connect(path: Path, options: str, busy_timeout: float = 0.0) -> sqlite3.Connection:
    """Open a journal's file with options of an SQLite URI."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    # Damaged text must decode, so that its checksum can reveal it.
    connection.text_factory = lambda text: text.decode(errors="replace")
    return connection


def recorded_outcomes(path: Path) -> int:
    """Return the number of outcomes in a journal without an examination of its pages.

    It takes less than a millisecond however large the journal is, so that many runs can be listed.

    Raises
    ------
    JournalError
        The file cannot be opened or read, or is no journal.
    """
    # Without a log the file is the whole journal. Opened so, SQLite writes no files beside it.
    options = "mode=ro" if _has_log(path) else "mode=ro&immutable=1"
    try:
        with closing(connect(path, options)) as connection:
            row = connection.execute(READ_N_OUTCOMES).fetchone()
            return int(row[0])
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise JournalError(f"cannot read the journal {path}: {error}") from error


def plan_digests(path: Path) -> list[tuple[int, str]]:
    """Return round and SHA-256 digest of each pickled plan in a journal; unpickle nothing.

    Rows that do not match their checksum are left out: such a plan is never unpickled.

    Raises
    ------
    DamagedJournalError
        The file is damaged or no journal: `SqliteJournal` refuses it too.
    JournalError
        The file cannot be opened or read.
    """
    options = "mode=ro" if _has_log(path) else "mode=ro&immutable=1"
    try:
        with closing(connect(path, options, busy_timeout=5.0)) as connection:
            rows = filter(is_intact, connection.execute(READ_PLANS))
            return [(int(row[0]), _sha256(row[1])) for row in rows if row[1]]
    except (IndexError, TypeError, ValueError) as error:  # tables of another form
        raise DamagedJournalError(f"the journal {path} is damaged: {error}") from error
    except sqlite3.Error as error:
        if _code(error) in _DAMAGE:
            raise DamagedJournalError(f"the journal {path} is damaged: {error}") from error
        advice = _NEXT_STEPS.get(_code(error), f"{error}. Check the file and try again")
        raise JournalError(f"cannot read the journal {path}: {advice}. ({error})") from error


def _sha256(pickled: bytes | str) -> str:
    # Damaged or hostile rows may have text in place of a BLOB.
    data = pickled if isinstance(pickled, bytes) else str(pickled).encode(errors="replace")
    return hashlib.sha256(data).hexdigest()


def writer_lock(path: Path) -> WriterLock:
    """Take the lock of a journal.

    Raises
    ------
    JournalError
        A process, maybe this one, holds it, or the folder cannot be written.
    """
    name, side_file = f"the journal {path}", path.with_name(path.name + ".lock")
    try:
        return WriterLock(side_file, name)
    except OSError as error:
        raise JournalError(
            f"cannot write {name}: {error.strerror} ({side_file}). Make room there and "
            "allow writing, or copy the run's folder to a place that can be written."
        ) from error


@cache
def _schema() -> list[tuple[Any, ...]]:
    """Return the tables as SQLite describes them in a new journal."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in CREATE:
            connection.execute(statement)
        return connection.execute(READ_SCHEMA).fetchall()


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code: the low byte of an extended one."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
