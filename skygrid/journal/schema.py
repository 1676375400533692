"""The tables of a journal on disk, as SQL."""

from __future__ import annotations

from skygrid.journal.rows import COLUMNS

SCHEMA_VERSION = 3
"""Version of the tables, stored as SQLite's ``user_version``."""

APPLICATION_ID = 0x534B5947
"""``SKYG`` in ASCII: marks journals among SQLite files, stored as ``application_id``."""

KEYS = {
    "fingerprint": ("part",),
    "rounds": ("round",),
    "nodes": ("node",),
    "outcomes": ("round", "candidate", "split"),
}
"""Table -> its first columns, which are its primary key.

The last column of each table is the CRC-32 of the columns before it, as a MessagePack array: SQLite
keeps no checksums of its pages.
"""

_TABLES = (
    """CREATE TABLE fingerprint (
        part TEXT PRIMARY KEY NOT NULL,
        value TEXT NOT NULL, -- digest, or text of a version
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE rounds (
        round INTEGER PRIMARY KEY NOT NULL,
        plan BLOB NOT NULL, -- pickle, empty for a plan that is too large
        digest TEXT NOT NULL, -- of a plan that is too large
        checksum INTEGER NOT NULL
    )""",
    """CREATE TABLE nodes (
        node TEXT PRIMARY KEY NOT NULL,
        facts BLOB NOT NULL, -- JSON
        checksum INTEGER NOT NULL
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
        checksum INTEGER NOT NULL,
        PRIMARY KEY (round, candidate, split)
    ) WITHOUT ROWID""",
    # Totals reveal missing rows, which no row checksum can. Compared when a journal is opened.
    """CREATE TABLE totals (
        name TEXT PRIMARY KEY NOT NULL, -- of another table
        n_rows INTEGER NOT NULL,
        checksum INTEGER NOT NULL -- sum of the checksums of its rows
    ) WITHOUT ROWID""",
)

CREATE = (
    *_TABLES,
    *(
        f"""CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN
        UPDATE totals SET n_rows = n_rows + 1, checksum = checksum + NEW.checksum
        WHERE name = '{table}'; END"""
        for table in KEYS
    ),
    """CREATE TRIGGER nodes_changed AFTER UPDATE ON nodes BEGIN
        UPDATE totals SET checksum = checksum + NEW.checksum - OLD.checksum
        WHERE name = 'nodes'; END""",
    *(f"INSERT INTO totals VALUES ('{table}', 0, 0)" for table in KEYS),
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
READ_APPLICATION_ID = "PRAGMA application_id"
READ_VERSION = "PRAGMA user_version"
READ_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
READ_PAGE_SIZE = "PRAGMA page_size"
CHECK_PAGES = "PRAGMA quick_check(1)"
USE_WAL = "PRAGMA journal_mode = WAL"
SYNC_EVERY_COMMIT = "PRAGMA synchronous = FULL"
BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
READ_FINGERPRINT = "SELECT * FROM fingerprint"
READ_ROUND = "SELECT * FROM rounds WHERE round = ?"
READ_PLANS = "SELECT * FROM rounds ORDER BY round"
READ_NODES = "SELECT * FROM nodes"
READ_OUTCOMES = "SELECT * FROM outcomes WHERE round = ? ORDER BY candidate, split"
COUNT_OUTCOMES = "SELECT count(*) FROM outcomes"
READ_N_OUTCOMES = "SELECT n_rows FROM totals WHERE name = 'outcomes'"
READ_TOTALS = "SELECT * FROM totals"
READ_ALL = {
    (table, backwards): f"SELECT * FROM {table} ORDER BY "  # constants, no user input
    + ", ".join(f"{column} {'DESC' if backwards else 'ASC'}" for column in key)
    for table, key in KEYS.items()
    for backwards in (False, True)
}
_N_OUTCOME_COLUMNS = len([*COLUMNS, "whole", "checksum"])
ADD = {
    "fingerprint": "INSERT INTO fingerprint VALUES (?, ?, ?)",
    "rounds": "INSERT INTO rounds VALUES (?, ?, ?, ?)",
    "nodes": """INSERT INTO nodes VALUES (?, ?, ?)
        ON CONFLICT (node) DO UPDATE SET facts = excluded.facts, checksum = excluded.checksum""",
    "outcomes": f"""INSERT INTO outcomes VALUES ({", ".join("?" * _N_OUTCOME_COLUMNS)})
        ON CONFLICT (round, candidate, split) DO NOTHING""",
}
