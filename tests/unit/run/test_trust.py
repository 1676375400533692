"""Recognition of run folders that this user made."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from skygrid.run.trust import FolderFacts, examine, mark_of, mark_own, why_foreign

KEY = b"k" * 32
RUN_ID = "0123456789abcdef"
FACTS = FolderFacts(run_id=RUN_ID, path="/runs/mine", owner=7, others_write=False)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for the key of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def a_folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    (path / "run.json").write_text("{}")
    mark_own(path, RUN_ID)
    return path


def test_the_mark_decides():
    """A folder with the mark of this user is trusted, also where files have no owner or mode."""
    for facts in (FACTS, replace(FACTS, owner=8), replace(FACTS, others_write=True)):
        assert why_foreign(facts, mark_of(facts, KEY), KEY, user=7) is None


@pytest.mark.parametrize(
    "change", [{"run_id": "f" * 16}, {"path": "/runs/other"}, {"owner": 8}, {"others_write": True}]
)
def test_a_mark_is_for_one_folder_as_it_was(change):
    """A mark does not hold for another run, place, owner or mode, nor under another key."""
    mark = mark_of(FACTS, KEY)

    assert why_foreign(replace(FACTS, **change), mark, KEY, user=7) is not None
    assert why_foreign(FACTS, mark, b"x" * 32, user=7) is not None
    assert why_foreign(FACTS, mark, None, user=7) is not None
    assert why_foreign(FACTS, "", KEY, user=7) is not None


def test_the_reason_names_what_is_seen():
    """The reason names the owner first, then who can write, then the place."""
    assert why_foreign(replace(FACTS, owner=0), "", KEY, user=7) == "it belongs to root"
    assert why_foreign(replace(FACTS, owner=-1), "", KEY, user=7) == "it belongs to several users"
    shared = replace(FACTS, others_write=True)
    assert why_foreign(shared, "", KEY, user=7) == "other users can write to it"
    assert "made elsewhere" in str(why_foreign(FACTS, "", KEY, user=7))


def test_a_folder_that_this_user_made_is_recognised(state, tmp_path):
    """A marked folder is trusted; the key is readable by its user alone."""
    folder = a_folder(tmp_path / "mine")

    assert examine(folder, RUN_ID) is None
    assert (state / "skygrid" / "key").stat().st_mode & 0o777 == 0o600


def test_copies_and_folders_that_others_can_write_are_not_recognised(state, tmp_path):
    """A copy in another place, a folder of mode 0777 and one without a mark are foreign."""
    folder = a_folder(tmp_path / "mine")
    shutil.copytree(folder, tmp_path / "copy")
    assert "made elsewhere" in str(examine(tmp_path / "copy", RUN_ID))

    folder.chmod(0o777)
    assert examine(folder, RUN_ID) == "other users can write to it"

    folder.chmod(0o700)
    (folder / ".mark").unlink()
    assert examine(folder, RUN_ID) is not None


def test_a_key_that_others_can_read_recognises_nothing(state, tmp_path):
    """Everyone who can read the key could forge a mark, so such a key is not used."""
    folder = a_folder(tmp_path / "mine")
    (state / "skygrid" / "key").chmod(0o644)

    assert examine(folder, RUN_ID) is not None
    mark_own(folder, RUN_ID)
    assert examine(folder, RUN_ID) is not None


def test_a_mark_that_is_a_pipe_or_a_link_does_not_hold_the_command_up(state, tmp_path):
    """A mark file of another kind is no mark, and a new mark does not write through a link."""
    folder = a_folder(tmp_path / "mine")
    (folder / ".mark").unlink()
    os.mkfifo(folder / ".mark")
    assert examine(folder, RUN_ID) is not None

    (folder / ".mark").unlink()
    (tmp_path / "victim").write_text("kept")
    (folder / ".mark").symlink_to(tmp_path / "victim")
    assert examine(folder, RUN_ID) is not None
    mark_own(folder, RUN_ID)
    assert examine(folder, RUN_ID) is None
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_run_needs_no_home_folder(tmp_path, monkeypatch):
    """Without a place for the key a folder gets no mark, and no error."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    folder = a_folder(tmp_path / "mine")

    assert examine(folder, RUN_ID) is not None
