"""Recognition of run folders that this user made."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from skygrid.journal.sqlite import SqliteJournal
from skygrid.plan.records import RoundPlan
from skygrid.reports.run_record import RunRecord, driver_mark
from skygrid.run.trust import FolderFacts, examine, mark_own, mark_plan, marks_of, why_foreign

KEY = b"k" * 32
RUN_ID = "0123456789abcdef"
FACTS = FolderFacts(
    run_id=RUN_ID, path="/runs/mine", owner=7, others_write=False, code="c", plans=("p", "q")
)
RECORD = RunRecord(
    id=RUN_ID,
    name="mine",
    state="interrupted",
    search_file="/home/me/search.py",
    argv=(),
    config={"on": "ssh", "ssh": {"hosts": ["h"]}, "environment": {"setup": "true"}},
    started_at=1.0,
    driver=driver_mark(),
)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for the key of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def settle(folder: Path, round: int, value: int) -> str:
    """Record the plan of a round in the folder's journal, and return its digest."""
    with closing(SqliteJournal(folder / "journal.sqlite")) as journal:
        journal.settle(RoundPlan(round=round, candidates=({"a": value},), splits=()))
        return journal.plan_digest(round) or ""


def a_folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    RECORD.write(path)
    settle(path, 0, 1)
    mark_own(path, RECORD)
    return path


def test_the_marks_decide():
    """A folder whose content all has marks of this user is trusted; others may be there too."""
    marks = marks_of(FACTS, KEY)
    assert why_foreign(FACTS, ("other", *marks), KEY, user=7) is None


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "f" * 16},
        {"path": "/runs/other"},
        {"code": "evil"},
        {"plans": ("p", "evil")},
        {"plans": ("p", "q", "evil")},
    ],
)
def test_a_mark_is_for_one_folder_as_it_was(change):
    """A mark does not hold for another run, place, search file, config or plan, or another key."""
    marks = marks_of(FACTS, KEY)

    assert why_foreign(replace(FACTS, **change), marks, KEY, user=7) is not None
    assert why_foreign(FACTS, marks, b"x" * 32, user=7) is not None
    assert why_foreign(FACTS, marks, None, user=7) is not None
    assert why_foreign(FACTS, marks[1:], KEY, user=7) is not None
    assert why_foreign(FACTS, (), KEY, user=7) is not None


def test_fewer_plans_than_marked_are_fine():
    """A journal that lost plans, as after a salvage, holds nothing of someone else."""
    assert why_foreign(replace(FACTS, plans=("q",)), marks_of(FACTS, KEY), KEY, user=7) is None


@pytest.mark.parametrize("change", [{"owner": 8}, {"owner": -1}, {"others_write": True}])
def test_a_folder_that_others_can_write_is_never_trusted(change):
    """Others can change such a folder at any time, so no mark of it is believed."""
    facts = replace(FACTS, **change)
    assert why_foreign(facts, marks_of(facts, KEY), KEY, user=7) is not None


def test_the_reason_names_what_is_seen():
    """The reason names the owner first, then who can write, then the key, then the content."""
    assert why_foreign(replace(FACTS, owner=0), (), KEY, user=7) == "it belongs to root"
    assert why_foreign(replace(FACTS, owner=-1), (), KEY, user=7) == "it belongs to several users"
    shared = replace(FACTS, others_write=True)
    assert why_foreign(shared, (), None, user=7) == "other users can write to it"
    assert "no key" in str(why_foreign(FACTS, (), None, user=7))
    assert "made elsewhere" in str(why_foreign(FACTS, (), KEY, user=7))
    marks = marks_of(replace(FACTS, plans=()), KEY)
    assert "a plan in its journal" in str(why_foreign(FACTS, marks, KEY, user=7))


def test_a_folder_that_this_user_made_is_recognised(state, tmp_path):
    """A marked folder is trusted; the key is readable by its user alone."""
    folder = a_folder(tmp_path / "mine")

    assert examine(folder, RECORD) is None
    assert (state / "skygrid" / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"search_file": "/tmp/evil.py"},
        {"config": {**RECORD.config, "environment": {"setup": "evil"}}},
        {"config": {**RECORD.config, "on": "command"}},
    ],
)
def test_a_changed_record_is_not_recognised(state, tmp_path, change):
    """A run.json that chooses other code is foreign, also in the folder that this user made."""
    folder = a_folder(tmp_path / "mine")

    assert "made elsewhere" in str(examine(folder, msgspec.structs.replace(RECORD, **change)))
    # What chooses no code may change.
    ended = msgspec.structs.replace(RECORD, state="stopped", ended_at=2.0, error="x")
    assert examine(folder, ended) is None


def test_every_record_of_this_user_is_recognised(state, tmp_path):
    """After a session with other options, both records have marks: a kill may leave either."""
    folder = a_folder(tmp_path / "mine")
    changed = msgspec.structs.replace(RECORD, config={**RECORD.config, "retries": 5})
    mark_own(folder, changed)

    assert examine(folder, RECORD) is None
    assert examine(folder, changed) is None


def test_a_changed_plan_is_not_recognised(state, tmp_path):
    """A plan that was put into the journal is foreign until it is marked."""
    folder = a_folder(tmp_path / "mine")
    digest = settle(folder, 1, 2)

    assert examine(folder, RECORD) == "a plan in its journal was made elsewhere"
    mark_plan(folder, RUN_ID, 1, digest)
    assert examine(folder, RECORD) is None

    (folder / "journal.sqlite").unlink()
    settle(folder, 0, 9)
    assert examine(folder, RECORD) == "a plan in its journal was made elsewhere"


def test_a_file_that_changes_the_journal_is_not_overlooked(state, tmp_path):
    """A rollback journal, which SQLite applies when it opens the file, makes a folder foreign."""
    folder = a_folder(tmp_path / "mine")
    (folder / "journal.sqlite-journal").write_bytes(b"")

    assert "journal.sqlite-journal" in str(examine(folder, RECORD))


def test_a_damaged_journal_has_no_plans(state, tmp_path):
    """A damaged journal is no reason for distrust: nothing is loaded before it is salvaged."""
    folder = a_folder(tmp_path / "mine")
    (folder / "journal.sqlite").write_bytes(b"damaged")

    assert examine(folder, RECORD) is None


def test_copies_and_folders_that_others_can_write_are_not_recognised(state, tmp_path):
    """A copy in another place, a folder of mode 0777 and one without a mark are foreign."""
    folder = a_folder(tmp_path / "mine")
    shutil.copytree(folder, tmp_path / "copy")
    assert "made elsewhere" in str(examine(tmp_path / "copy", RECORD))

    folder.chmod(0o777)
    mark_own(folder, RECORD)  # a consent
    assert examine(folder, RECORD) == "other users can write to it"

    folder.chmod(0o700)
    assert examine(folder, RECORD) is None
    (folder / ".mark").unlink()
    assert examine(folder, RECORD) is not None


def test_a_key_that_others_can_read_recognises_nothing(state, tmp_path):
    """Everyone who can read the key could forge a mark, so such a key is not used."""
    folder = a_folder(tmp_path / "mine")
    (state / "skygrid" / "key").chmod(0o644)

    assert examine(folder, RECORD) is not None
    mark_own(folder, RECORD)
    assert examine(folder, RECORD) is not None


def test_a_mark_that_is_a_pipe_or_a_link_does_not_hold_the_command_up(state, tmp_path):
    """A mark file of another kind is no mark, and a new mark does not write through a link."""
    folder = a_folder(tmp_path / "mine")
    (folder / ".mark").unlink()
    os.mkfifo(folder / ".mark")
    assert examine(folder, RECORD) is not None

    (folder / ".mark").unlink()
    (tmp_path / "victim").write_text("kept")
    (folder / ".mark").symlink_to(tmp_path / "victim")
    assert examine(folder, RECORD) is not None
    mark_own(folder, RECORD)
    assert examine(folder, RECORD) is None
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_run_needs_no_home_folder(tmp_path, monkeypatch):
    """Without a place for the key a folder gets no mark, and no error."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    folder = a_folder(tmp_path / "mine")

    assert "no key" in str(examine(folder, RECORD))
