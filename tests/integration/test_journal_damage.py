"""Journals with damaged bytes, rows or pages never give other outcomes."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skygrid.errors import DamagedJournalError, JournalError
from skygrid.journal.salvage import salvage
from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import Outcome, RoundPlan

FINGERPRINT = {"X": "ab" * 32, "y": "cd" * 32, "scikit-learn": "1.9.1"}
NODES = {"node-1": b'{"vcpus": 2}', "node-2": b'{"vcpus": 4}'}
CANDIDATES, SPLITS = 40, 3
N_FITS = 2 * CANDIDATES * SPLITS


def plan(round: int) -> RoundPlan:
    rng = np.random.default_rng(round)
    return RoundPlan(
        round=round,
        candidates=[{"alpha": float(alpha)} for alpha in rng.random(CANDIDATES)],
        splits=[(rng.permutation(20), np.arange(20, 30)) for _ in range(SPLITS)],
    )


def outcome(round: int, candidate: int, split: int) -> Outcome:
    failed = candidate == 7
    return Outcome(
        round=round,
        candidate=candidate,
        split=split,
        status="failed" if failed else "scored",
        node=f"node-{1 + split % 2}",
        slot=0,
        test_scores=None if failed else 1.0 / (3 + candidate + split),
        n_test_samples=10,
        fit_seconds=0.5,
        score_seconds=0.25,
        busy_seconds=0.75,
        fit_error="ValueError: no" if failed else None,
        finished_at=1.0,
    )


def fill(path: Path, rounds: int = 2) -> None:
    with closing(SqliteJournal(path)) as journal:
        journal.claim(FINGERPRINT)
        for node, facts in NODES.items():
            journal.record_node(node, b"{}")
            journal.record_node(node, facts)
        for round in range(rounds):
            journal.settle(plan(round))
            journal.append(
                [
                    outcome(round, candidate, split)
                    for candidate in range(CANDIDATES)
                    for split in range(SPLITS)
                ]
            )


def content(path: Path, *, read_only: bool = False) -> str:
    """Return all that a resumed run reads from a journal, as text."""
    with closing(SqliteJournal(path, read_only=read_only)) as journal:
        journal.claim(FINGERPRINT)
        plans = [journal.settle(_other(round)) for round in (0, 1)]
        splits = [[part.tolist() for split in one.splits for part in split] for one in plans]
        outcomes = [journal.outcomes(round) for round in (0, 1)]
        return repr((journal.nodes(), [one.candidates for one in plans], splits, outcomes))


def _other(round: int) -> RoundPlan:
    """Return another plan, as from a second draw without a seed."""
    return RoundPlan(round=round, candidates=[{}], splits=[])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Journal of two rounds that was closed normally."""
    fill(tmp_path / "journal.sqlite")
    return tmp_path / "journal.sqlite"


def change(path: Path, *statements: str) -> None:
    """Change rows without the journal's code."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0
        connection.commit()


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def erase(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start : start + 64] = bytes(len(data[start : start + 64]))


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(1, len(data)) :]


def exchange(data: bytearray, rng: random.Random) -> None:
    one, other = (4096 * page for page in rng.sample(range(len(data) // 4096), 2))
    data[one : one + 4096], data[other : other + 4096] = (
        data[other : other + 4096],
        data[one : one + 4096],
    )


@pytest.mark.parametrize("damage", [flip, overwrite, erase, cut, exchange])
def test_a_damaged_file_gives_the_same_content_or_is_refused(
    path: Path, damage: Callable[[bytearray, random.Random], None]
) -> None:
    """A damaged journal gives the recorded content, or an error."""
    rng, whole, expected = random.Random(damage.__name__), path.read_bytes(), content(path)
    refused = 0
    for _ in range(120):
        data = bytearray(whole)
        damage(data, rng)
        path.write_bytes(data)
        try:
            assert content(path) == expected
        except JournalError as error:
            assert str(path) in str(error)  # noqa: PT017  # either is right
            refused += 1
    assert refused > 5


ROWS = {
    "fingerprint": ("UPDATE fingerprint SET value = 'other' WHERE part = 'y'", "part 'y'", N_FITS),
    "plan": ("UPDATE rounds SET plan = plan || x'00' WHERE round = 1", "round 1", N_FITS // 2),
    "digest": ("UPDATE rounds SET digest = 'ab' WHERE round = 1", "round 1", N_FITS // 2),
    "node": ("UPDATE nodes SET facts = x'7b7d' WHERE node = 'node-2'", "node-2", N_FITS),
    "score": (
        "UPDATE outcomes SET test_score = 1.0 WHERE (round, candidate, split) = (1, 4, 2)",
        "round 1, candidate 4, split 2",
        N_FITS - 1,
    ),
    "whole": (
        "UPDATE outcomes SET whole = x'80' WHERE (round, candidate, split) = (0, 7, 0)",
        "round 0, candidate 7, split 0",
        N_FITS - 1,
    ),
}


@pytest.mark.parametrize(("statement", "place", "kept"), ROWS.values(), ids=ROWS.keys())
def test_a_damaged_row_is_named(path: Path, statement: str, place: str, kept: int) -> None:
    """A changed value in any table is an error with its row and the number of intact outcomes."""
    change(path, statement)
    with pytest.raises(DamagedJournalError, match=place) as caught:
        SqliteJournal(path)
    assert f"{kept} of {N_FITS} recorded outcomes can be kept" in str(caught.value)


SWAPS = {
    "rounds": (
        "UPDATE rounds SET round = 101 - round",
        "UPDATE rounds SET round = round - 100",
    ),
    "nodes": (
        "UPDATE nodes SET node = CASE node WHEN 'node-1' THEN 'tmp' ELSE 'node-1' END",
        "UPDATE nodes SET node = 'node-2' WHERE node = 'tmp'",
    ),
    "fingerprint": (
        "UPDATE fingerprint SET part = 'tmp' WHERE part = 'X'",
        "UPDATE fingerprint SET part = 'X' WHERE part = 'y'",
        "UPDATE fingerprint SET part = 'y' WHERE part = 'tmp'",
    ),
    "outcomes": (
        "UPDATE outcomes SET candidate = 99 WHERE (round, candidate, split) = (0, 1, 1)",
        "UPDATE outcomes SET candidate = 1 WHERE (round, candidate, split) = (0, 2, 1)",
        "UPDATE outcomes SET candidate = 2 WHERE (round, candidate, split) = (0, 99, 1)",
    ),
}


@pytest.mark.parametrize("statements", SWAPS.values(), ids=SWAPS.keys())
def test_rows_that_were_exchanged_are_refused(path: Path, statements: tuple[str, ...]) -> None:
    """A row under another row's key is damaged, in any table."""
    change(path, *statements)
    with pytest.raises(DamagedJournalError, match="a row of table"):
        SqliteJournal(path)


@pytest.mark.parametrize("table", ["fingerprint", "rounds", "nodes", "outcomes", "totals"])
@pytest.mark.parametrize("every", [False, True], ids=["one row", "all rows"])
def test_missing_rows_are_noticed(path: Path, table: str, every: bool) -> None:
    """A journal without one row, or without all rows of a table, is refused."""
    key = "round" if table in ("rounds", "outcomes") else "rowid"
    where = {"fingerprint": "part = 'X'", "nodes": "node = 'node-1'", "totals": "name = 'rounds'"}
    one = where.get(table, f"{key} = 1" + (" AND candidate = 3" if table == "outcomes" else ""))
    change(path, f"DELETE FROM {table}" + ("" if every else f" WHERE {one}"))
    with pytest.raises(DamagedJournalError, match=rf"table {table}|totals of table"):
        SqliteJournal(path)


def test_a_damaged_trigger_is_found(path: Path) -> None:
    """A damaged schema is found before it is used for a write."""
    data = path.read_bytes()
    assert b"n_rows + 1" in data
    path.write_bytes(data.replace(b"n_rows + 1", b"n_rows + 9", 1))
    with pytest.raises(DamagedJournalError, match=rf"{N_FITS} recorded outcomes can be kept"):
        SqliteJournal(path)


def test_a_reader_returns_no_damaged_row(path: Path) -> None:
    """A journal opened for reading checks each row that it returns."""
    change(path, ROWS["score"][0], ROWS["node"][0], ROWS["plan"][0], ROWS["fingerprint"][0])
    with closing(SqliteJournal(path, read_only=True)) as journal:
        assert len(journal.outcomes(0)) == N_FITS // 2
        calls: list[Callable[[], Any]] = [
            lambda: journal.outcomes(1),
            journal.nodes,
            lambda: journal.settle(_other(1)),
            lambda: journal.claim(FINGERPRINT),
        ]
        for call in calls:
            with pytest.raises(DamagedJournalError):
                call()


class TestSalvage:
    def test_all_but_the_damaged_outcome(self, path: Path) -> None:
        """Salvage keeps intact outcomes with their plans, and renames the damaged file."""
        with closing(SqliteJournal(path)) as journal:
            before = journal.outcomes(1)
        change(path, ROWS["score"][0], ROWS["node"][0])
        damaged = path.read_bytes()
        aside = salvage(path, FINGERPRINT)
        assert aside.read_bytes() == damaged
        assert sorted(path.parent.iterdir()) == sorted([path, aside])
        with closing(SqliteJournal(path)) as journal:
            journal.claim(FINGERPRINT)
            left = [one for one in before if (one.candidate, one.split) != (4, 2)]
            assert journal.outcomes(1) == left
            assert journal.count() == N_FITS - 1
            assert journal.nodes() == {"node-1": NODES["node-1"]}
            assert journal.settle(_other(1)).candidates == plan(1).candidates

    def test_outcomes_need_the_plan_of_their_round(self, path: Path) -> None:
        """No outcomes are kept of a round with a damaged plan."""
        change(path, ROWS["plan"][0])
        salvage(path, FINGERPRINT)
        with closing(SqliteJournal(path)) as journal:
            assert journal.count() == N_FITS // 2
            assert journal.outcomes(1) == []
            assert journal.settle(_other(1)).candidates == [{}]

    def test_rows_on_both_sides_of_a_damaged_page(self, path: Path) -> None:
        """Rows before and after a damaged page are kept."""
        data = bytearray(path.read_bytes())
        with closing(sqlite3.connect(path)) as connection:
            root = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'outcomes'"
            ).fetchone()[0]
        # The root page holds the numbers of the pages with rows, four bytes each; see
        # fileformat2.html.
        start = 4096 * (root - 1)
        assert data[start] == 2  # an interior page of an index
        cell = int.from_bytes(data[start + 12 + 4 : start + 12 + 6], "big")  # the third cell
        page = int.from_bytes(data[start + cell : start + cell + 4], "big")
        data[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
        path.write_bytes(data)
        with pytest.raises(DamagedJournalError, match=rf"of {N_FITS} recorded outcomes can be"):
            SqliteJournal(path)
        salvage(path, FINGERPRINT)
        with closing(SqliteJournal(path)) as journal:
            found = [*journal.outcomes(0), *journal.outcomes(1)]
            assert journal.count() == len(found) < N_FITS
        kept = {(one.round, one.candidate, one.split) for one in found}
        assert {(0, 0, 0), (1, CANDIDATES - 1, SPLITS - 1)} <= kept

    def test_the_log_of_a_killed_writer(self, path: Path, tmp_path: Path) -> None:
        """Outcomes in the write-ahead log of a killed writer are kept in both files."""
        killed = tmp_path / "killed" / path.name
        with closing(SqliteJournal(path)) as journal:
            journal.append([outcome(1, CANDIDATES, 0)])
            killed.parent.mkdir()
            for part in path.parent.glob(f"{path.name}*"):
                shutil.copy(part, killed.parent)
        killed.with_name(f"{path.name}.lock").unlink()
        assert killed.with_name(f"{path.name}-wal").stat().st_size > 0
        aside = salvage(killed, FINGERPRINT)
        for one in (killed, aside):
            with closing(SqliteJournal(one)) as journal:
                assert journal.count() == N_FITS + 1

    def test_a_file_that_is_no_journal(self, path: Path) -> None:
        """An overwritten file is renamed, and the journal starts empty."""
        path.write_text("candidate,score\n" * 1000)
        salvage(path, FINGERPRINT)
        with closing(SqliteJournal(path)) as journal:
            assert (journal.count(), journal.claimed) == (0, True)

    def test_a_journal_in_use_is_not_salvaged(self, path: Path) -> None:
        """Salvage refuses a journal that a run writes."""
        with closing(SqliteJournal(path)), pytest.raises(JournalError, match="is being written"):
            salvage(path, FINGERPRINT)
