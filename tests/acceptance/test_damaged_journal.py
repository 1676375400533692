"""A damaged journal is refused with a command that salvages the intact outcomes."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from skygrid.cli.main import exit_code
from skygrid.journal.sqlite import SqliteJournal
from skygrid.reports.run_record import RunRecord
from skygrid.run.folder import salvage_run
from skygrid.run.trust import mark_own
from tests.command import answer_of, result

SEARCH = """
import numpy as np
from scipy.stats import uniform
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

rng = np.random.RandomState(0)
X = rng.randn(40, 3)
dataset = (X, X[:, 0] + 0.1 * rng.randn(40))
estimator = Ridge()
param_distributions = {"alpha": uniform(0, 1000)}
n_iter = 4
cv = KFold(3, shuffle=True)
"""
"""A search of 12 fits with unseeded candidates and splits."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "search.py").write_text(SEARCH)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert exit_code(["run", "search.py", "--name", "r", "--on", "local", "--quiet"]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the finished run and change into its folder."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    path = tmp_path / "copy" / "skygrid-runs" / "r"
    mark_own(path, RunRecord.read(path))
    return path


def refused(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """Resume a run that is refused; return the message and the arguments of the command in it."""
    capsys.readouterr()
    assert exit_code(["resume", "r", "--quiet"]) == 6
    err = capsys.readouterr().err
    command = re.search(r"skygrid (resume .*--salvage)$", err, re.MULTILINE)
    assert command is not None, err
    return err, shlex.split(command[1])


def test_the_printed_command_salvages_intact_outcomes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Resume of a damaged journal exits with 6 and changes nothing; the printed command goes on."""
    before = answer_of(result(run.parents[1], "r"))
    with closing(sqlite3.connect(run / "journal.sqlite")) as connection:
        statement = "UPDATE outcomes SET test_score = 0.5 WHERE candidate = 2 AND split = 1"
        assert connection.execute(statement).rowcount == 1
        connection.commit()

    err, command = refused(capsys)

    assert re.search("candidate 2, split 1.*11 of 12 recorded outcomes can be kept", err)
    assert answer_of(result(run.parents[1], "r")) == before
    assert RunRecord.read(run).state == "complete"
    assert exit_code([*command, "--quiet"]) == 0
    document = result(run.parents[1], "r")
    assert (document["reused"], answer_of(document)) == (11, before)
    # The journal is whole again, so it gives the same answer.
    assert exit_code([*command, "--quiet"]) == 0
    assert "nothing needs to be salvaged" in capsys.readouterr().err
    assert answer_of(result(run.parents[1], "r")) == before


@pytest.mark.parametrize("column", ["plan", "round", "checksum"])
def test_a_damaged_plan_is_damage(
    run: Path, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    """A changed byte in a plan's row is refused as damage, not as the plan of someone else."""
    with closing(sqlite3.connect(run / "journal.sqlite")) as connection:
        (value,) = connection.execute(f"SELECT {column} FROM rounds").fetchone()
        changed = value + 1 if isinstance(value, int) else value[:-9] + b"?" + value[-8:]
        connection.execute(f"UPDATE rounds SET {column} = ?", (changed,))
        connection.commit()

    err, _ = refused(capsys)

    assert "table rounds" in err


def test_a_missing_journal_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run with recorded fits is refused without its journal, and not drawn again."""
    (run / "journal.sqlite").unlink()

    err, _ = refused(capsys)

    assert "is empty, but the run has used it before" in err
    salvage_run(run)
    assert RunRecord.read(run).state == "interrupted"
    with closing(SqliteJournal(run / "journal.sqlite")) as journal:
        assert (journal.claimed, journal.count()) == (True, 0)
