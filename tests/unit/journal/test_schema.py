"""The tables of a journal belong to one version, and match the rows that are written."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing

from skygrid.journal.rows import COLUMNS
from skygrid.journal.schema import CREATE, SCHEMA_VERSION

DIGESTS = {3: "1513d1ef7b4281d2"}
"""Digest of the tables of each version."""

SCORES = {"test_score": "test_scores", "train_score": "train_scores"}
"""Columns that are called otherwise than their fields."""


def test_tables_change_with_their_version() -> None:
    """A journal with other tables has another version, or its runs would be called damaged."""
    tables = [text for text in CREATE if "user_version" not in text]
    digest = hashlib.sha256("\n".join(tables).encode()).hexdigest()[:16]
    assert DIGESTS.get(SCHEMA_VERSION) == digest, (
        "the tables changed: raise SCHEMA_VERSION in skygrid/journal/schema.py by one, and add "
        f"the digest of the new tables to DIGESTS: {digest!r}"
    )


def test_each_column_of_an_outcome_is_its_field() -> None:
    """The table of outcomes has a column for each value of a row, in the same order."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in CREATE:
            connection.execute(statement)
        names = [row[1] for row in connection.execute("PRAGMA table_info(outcomes)")]
    assert [SCORES.get(name, name) for name in names] == [*COLUMNS, "whole", "checksum"], (
        "COLUMNS in skygrid/journal/rows.py and the table outcomes in skygrid/journal/schema.py "
        "differ"
    )
