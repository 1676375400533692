"""The folder that slots of a node share is private, and is removed at any end of its owner."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from skygrid.worker.evaluation import shared_folder as module
from skygrid.worker.evaluation.shared_folder import SharedFolder, shared_folder
from tests.processes import leaving_nothing, wait_until

OWNER = """
import sys
from skygrid.worker.evaluation.shared_folder import SharedFolder
folder = SharedFolder()
(folder.path / "part").write_bytes(b"x")
print(folder.path, flush=True)
sys.stdin.read()
"""


def test_a_folder_is_private_and_removed_with_its_files() -> None:
    """Only the user has access to the folder; `remove` deletes it and ends its process."""
    with leaving_nothing():
        folder = SharedFolder()
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        (folder.path / "part").write_bytes(b"x")
        (folder.path / "inner").mkdir()
        folder.remove()
        assert not folder.path.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_folder_is_removed_when_its_owner_is_killed(number: signal.Signals) -> None:
    """After a kill of its owner, the folder is removed and no process is left."""
    with leaving_nothing():
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert owner.stdout is not None
        path = Path(owner.stdout.readline().strip())
        assert (path / "part").exists()
        owner.send_signal(number)
        owner.communicate()
        wait_until(lambda: not path.exists(), "the folder to be removed")


def test_the_owner_removes_a_folder_whose_remover_was_killed() -> None:
    """A folder is removed at the normal end of its owner, also without the process for it."""
    with leaving_nothing():
        folder = SharedFolder()
        (folder.path / "part").write_bytes(b"x")
        os.kill(folder._remover.pid, signal.SIGKILL)
        folder.remove()
        assert not folder.path.exists()


def test_the_next_owner_removes_a_folder_whose_remover_was_killed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without owner and remover is removed when the next one is made; others stay."""
    monkeypatch.setattr(module, "MEMORY", tmp_path)
    monkeypatch.setattr(module, "ROOM_BYTES", 0)
    foreign = tmp_path / f"{module.PREFIX}foreign"
    foreign.mkdir()
    with leaving_nothing():
        living, left = SharedFolder(), SharedFolder()
        os.kill(left._remover.pid, signal.SIGKILL)
        left._remover.communicate()
        left._owner.close()
        assert left.path.is_dir()
        last = SharedFolder()
        assert {*tmp_path.iterdir()} == {foreign, living.path, last.path}
        living.remove()
        last.remove()


def test_a_signal_to_the_owners_group_does_not_remove_the_folder() -> None:
    """The process that removes the folder is in its own group, which Ctrl-C does not reach."""
    with leaving_nothing():
        folder = SharedFolder()
        assert os.getpgid(folder._remover.pid) != os.getpgid(0)
        folder.remove()


def test_folders_are_separate() -> None:
    """Two agents on one machine have separate folders."""
    with leaving_nothing():
        one, other = SharedFolder(), SharedFolder()
        assert one.path != other.path
        one.remove()
        assert other.path.is_dir()
        other.remove()


def test_full_shared_memory_is_replaced_by_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without enough shared memory, the folder is a temporary one on disk."""
    monkeypatch.setattr(module, "ROOM_BYTES", 1 << 62)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with leaving_nothing():
        folder = SharedFolder()
        assert folder.path.parent == tmp_path
        folder.remove()


def test_without_a_folder_nothing_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no folder can be made, `shared_folder` returns None."""
    monkeypatch.setattr(module, "MEMORY", tmp_path / "neither")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nor"))
    assert shared_folder() is None
