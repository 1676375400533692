"""Examination of every row of a journal: damage, and rows that can still be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from skygrid.journal.rows import is_intact
from skygrid.journal.schema import KEYS, READ_ALL, READ_TOTALS

UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""Errors of damaged pages. SQLite quotes damaged text, and Python cannot decode its message."""


class Examination:
    """Reads a journal whose rows and pages may be damaged."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.problems: list[str] = []
        """Damage by table and row, as far as the rows were read."""

        self._connection = connection
        self._totals = self._read_totals()

    @property
    def n_outcomes(self) -> int | None:
        """Number of outcomes that were recorded; None if the journal's totals are damaged."""
        return self._totals["outcomes"][0] if "outcomes" in self._totals else None

    def rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yield table and row of everything that can be used.

        Outcomes without the plan of their round are left out.
        """
        rounds = set()
        for table in KEYS:
            for row in self._intact(table):
                if table == "rounds":
                    rounds.add(row[0])
                if table != "outcomes" or row[0] in rounds:
                    yield table, row

    def _intact(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Yield the intact rows of a table; after an unreadable page, continue from the end."""
        width = len(KEYS[table])
        count = total = 0
        last: tuple[Any, ...] | None = None
        for backwards in (False, True):
            try:
                for row in self._connection.execute(READ_ALL[table, backwards]):
                    key = row[:width]
                    if not is_intact(row):
                        self._note(table, key, "is damaged")
                        continue
                    seen = last is not None and key <= last
                    if seen and backwards:
                        break
                    if seen:
                        self._note(table, key, "is in the wrong place")
                    elif not backwards:
                        last = key
                    count, total = count + 1, total + row[-1]
                    yield row
            except UNREADABLE as error:
                self.problems.append(f"table {table} cannot be read to its end ({error})")
            else:
                break
        self._compare(table, count, total)

    def _compare(self, table: str, count: int, total: int) -> None:
        written = self._totals.get(table)
        if written is None:
            self.problems.append(f"the totals of table {table} are gone")
        elif written != (count, total):
            self.problems.append(
                f"table {table} has {count} intact rows, not the {written[0]} that were written"
            )

    def _note(self, table: str, key: tuple[Any, ...], trouble: str) -> None:
        named = ", ".join(
            f"{column} {value!r:.40}" for column, value in zip(KEYS[table], key, strict=True)
        )
        self.problems.append(f"a row of table {table} {trouble} ({named})")

    def _read_totals(self) -> dict[str, tuple[int, int]]:
        try:
            rows = self._connection.execute(READ_TOTALS).fetchall()
        except UNREADABLE as error:
            self.problems.append(f"table totals cannot be read ({error})")
            return {}
        return {name: (n_rows, checksum) for name, n_rows, checksum in rows}
