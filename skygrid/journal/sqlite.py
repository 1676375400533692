"""The journal on disk: one SQLite file, the only place that knows SQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from skygrid.errors import JournalError
from skygrid.journal.fingerprints import check_fingerprint, check_round
from skygrid.journal.rows import from_row, to_row
from skygrid.journal.writer_lock import WriterLock
from skygrid.plan.records import Outcome

SCHEMA_VERSION = 2
"""Version of the tables, kept in SQLite's ``user_version``."""

APPLICATION_ID = 0x534B5947
"""``SKYG``: tells a journal from any other SQLite file, kept in ``application_id``."""

CREATE_TABLES = (
    """CREATE TABLE fingerprint (
        part TEXT PRIMARY KEY NOT NULL,
        value TEXT NOT NULL -- digest, or text of a version
    ) WITHOUT ROWID""",
    """CREATE TABLE rounds (
        round INTEGER PRIMARY KEY NOT NULL,
        plan BLOB NOT NULL,
        digest TEXT NOT NULL
    )""",
    """CREATE TABLE nodes (
        node TEXT PRIMARY KEY NOT NULL,
        facts BLOB NOT NULL -- JSON
    ) WITHOUT ROWID""",
    """CREATE TABLE outcomes (
        round INTEGER NOT NULL,
        candidate INTEGER NOT NULL,
        split INTEGER NOT NULL,
        status TEXT NOT NULL,
        node TEXT NOT NULL,
        slot INTEGER,
        attempt INTEGER,
        test_score REAL,
        train_score REAL,
        n_test_samples INTEGER,
        fit_seconds REAL,
        score_seconds REAL,
        busy_seconds REAL,
        finished_at REAL,
        answered_by INTEGER, -- candidate whose fit answered this one too, -1 for none
        whole BLOB, -- MessagePack of an outcome that does not fit the columns before
        checksum INTEGER NOT NULL, -- CRC-32 of the other columns as a MessagePack array
        PRIMARY KEY (round, candidate, split)
    ) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
READ_APPLICATION_ID = "PRAGMA application_id"
READ_VERSION = "PRAGMA user_version"
READ_TABLES = "SELECT count(*) FROM sqlite_master"
READ_PAGE_SIZE = "PRAGMA page_size"
CHECK_PAGES = "PRAGMA quick_check(1)"
USE_WAL = "PRAGMA journal_mode = WAL"
SYNC_EVERY_COMMIT = "PRAGMA synchronous = FULL"
BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
READ_FINGERPRINT = "SELECT part, value FROM fingerprint"
ADD_FINGERPRINT = "INSERT INTO fingerprint (part, value) VALUES (?, ?)"
READ_ROUND = "SELECT plan, digest FROM rounds WHERE round = ?"
ADD_ROUND = "INSERT INTO rounds (round, plan, digest) VALUES (?, ?, ?)"
READ_NODES = "SELECT node, facts FROM nodes"
PUT_NODE = """INSERT INTO nodes (node, facts) VALUES (?, ?)
    ON CONFLICT (node) DO UPDATE SET facts = excluded.facts"""
ADD_OUTCOME = """INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (round, candidate, split) DO NOTHING"""
READ_OUTCOMES = "SELECT * FROM outcomes WHERE round = ? ORDER BY candidate, split"
COUNT_OUTCOMES = "SELECT count(*) FROM outcomes"

_NEXT_STEPS = {
    sqlite3.SQLITE_FULL: "the disk is full. Make room and resume the run",
    sqlite3.SQLITE_IOERR: (
        "the disk refused: it is full, over a quota, or broken. Make room or repair it and "
        "resume the run"
    ),
    sqlite3.SQLITE_BUSY: "another program keeps it locked. Close that program and try again",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked. Close that program and try again",
    sqlite3.SQLITE_NOTADB: (
        "it is not a journal: something else overwrote it. Restore it from a copy, or start a "
        "new run"
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the file is truncated or damaged. Restore it from a copy, or start a new run"
    ),
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


class SqliteJournal:
    """Implements `skygrid.journal.interface.Journal` in one file.

    Readers work while one process writes. The writer holds ``<path>.lock`` until it closes the
    journal or ends.

    Parameters
    ----------
    path
        The file; a writer makes it when absent.
    read_only
        Only look; never make or change anything that counts.
    busy_timeout
        Seconds to wait for another program that keeps the file locked.

    Raises
    ------
    JournalError
        It cannot be opened, is damaged, is no journal, has another version, or another process
        writes it.
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
                self._lock = self._take_lock()
            self._open(busy_timeout)
        except BaseException:
            self.close()
            raise

    def claim(self, fingerprint: Mapping[str, str]) -> None:
        """See `Journal.claim`."""
        with self._access("read") as connection:
            stored: dict[str, str] = dict(connection.execute(READ_FINGERPRINT).fetchall())
        if stored:
            check_fingerprint(self._name, stored, fingerprint)
            return
        with self._transaction() as connection:
            connection.executemany(ADD_FINGERPRINT, fingerprint.items())

    def record_round(self, round: int, plan: bytes, digest: str) -> None:
        """See `Journal.record_round`."""
        stored = self.round_plan(round)
        if stored is not None:
            check_round(self._name, round, stored[1], digest)
            return
        with self._transaction() as connection:
            connection.execute(ADD_ROUND, (round, plan, digest))

    def round_plan(self, round: int) -> tuple[bytes, str] | None:
        """See `Journal.round_plan`."""
        with self._access("read") as connection:
            row = connection.execute(READ_ROUND, (round,)).fetchone()
        return None if row is None else (row[0], row[1])

    def record_node(self, node: str, facts: bytes) -> None:
        """See `Journal.record_node`."""
        with self._transaction() as connection:
            connection.execute(PUT_NODE, (node, facts))

    def nodes(self) -> dict[str, bytes]:
        """See `Journal.nodes`."""
        with self._access("read") as connection:
            return dict(connection.execute(READ_NODES).fetchall())

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """See `Journal.append`."""
        rows = [to_row(outcome) for outcome in outcomes]
        with self._transaction() as connection:
            connection.executemany(ADD_OUTCOME, rows)

    def outcomes(self, round: int) -> list[Outcome]:
        """See `Journal.outcomes`."""
        with self._access("read") as connection:
            return [from_row(row) for row in connection.execute(READ_OUTCOMES, (round,))]

    def count(self) -> int:
        """See `Journal.count`."""
        with self._access("read") as connection:
            return int(connection.execute(COUNT_OUTCOMES).fetchone()[0])

    def close(self) -> None:
        """See `Journal.close`."""
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
        if self._path.is_dir():
            raise JournalError(f"{self._name} is a folder. Move it away and try again.")

    def _take_lock(self) -> WriterLock:
        side_file = self._path.with_name(self._path.name + ".lock")
        try:
            return WriterLock(side_file, self._name)
        except OSError as error:
            raise JournalError(
                f"cannot write {self._name}: {error.strerror} ({side_file}). Make room there and "
                "allow writing, or copy the run's folder to a place that can be written."
            ) from error

    def _open(self, busy_timeout: float) -> None:
        self._connect("mode=ro" if self._read_only else "mode=rwc", busy_timeout)
        try:
            self._prepare()
        except JournalError as error:
            if not (self._read_only and self._is_still(error.__cause__)):
                raise
            # SQLite wants to write beside a file in WAL mode even to read it. Where that cannot
            # be and no writer left anything behind, the file alone is the whole journal.
            self._connect("mode=ro&immutable=1", busy_timeout)
            self._prepare()

    def _connect(self, options: str, busy_timeout: float) -> None:
        if self._connection is not None:
            self._connection.close()
        with self._explained("open"):
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?{options}",
                uri=True,
                timeout=busy_timeout,
                isolation_level=None,
                check_same_thread=False,
            )

    def _prepare(self) -> None:
        with self._access("open") as connection:
            version = connection.execute(READ_VERSION).fetchone()[0]
            ours = connection.execute(READ_APPLICATION_ID).fetchone()[0] == APPLICATION_ID
            empty = connection.execute(READ_TABLES).fetchone()[0] == 0
        if empty and not ours and version == 0:
            self._create()
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

    def _create(self) -> None:
        if self._read_only:
            raise JournalError(
                f"{self._name} holds nothing yet. Resume the run, or start a new one."
            )
        with self._access("create") as connection:
            connection.execute(USE_WAL)
        with self._transaction() as connection:
            for statement in CREATE_TABLES:
                connection.execute(statement)

    def _check_pages(self) -> None:
        with self._access("open") as connection:
            if not self._read_only:
                connection.execute(USE_WAL)
                connection.execute(SYNC_EVERY_COMMIT)
            whole = self._ends_with_a_page(connection.execute(READ_PAGE_SIZE).fetchone()[0])
            sound = whole and connection.execute(CHECK_PAGES).fetchone()[0] == "ok"
        if not sound:
            raise self._failure("open", _NEXT_STEPS[sqlite3.SQLITE_CORRUPT])

    def _ends_with_a_page(self, page_size: int) -> bool:
        # SQLite reads what is missing from the last page as zeros. While there is a log, the
        # page may be whole in there.
        return self._path.stat().st_size % page_size == 0 or self._has_log()

    def _has_log(self) -> bool:
        log = self._path.with_name(self._path.name + "-wal")
        return log.exists() and log.stat().st_size > 0

    def _is_still(self, cause: BaseException | None) -> bool:
        return (
            isinstance(cause, sqlite3.Error)
            and _code(cause) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            and not os.access(self._path.parent, os.W_OK)
            and not self._has_log()
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
        """All or nothing, on disk at the end."""
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
            advice = _NEXT_STEPS.get(_code(error), f"{error}. Check the file and try again")
            raise self._failure(action, advice, error) from error
        except msgspec.DecodeError as error:
            advice = _NEXT_STEPS[sqlite3.SQLITE_CORRUPT]
            raise self._failure(action, advice, error) from error

    def _failure(self, action: str, advice: str, error: Exception | None = None) -> JournalError:
        detail = f" ({error})" if error is not None else ""
        return JournalError(f"cannot {action} {self._name}: {advice}.{detail}")


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; the extended ones keep it in their low byte."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
