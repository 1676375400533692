"""The folder that slots of a node share: private, and gone however its owner ends."""

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


def test_a_folder_is_its_users_own_and_goes_with_all_that_is_in_it() -> None:
    """Nobody else may look into it; after `remove` neither it nor its process is left."""
    with leaving_nothing():
        folder = SharedFolder()
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        (folder.path / "part").write_bytes(b"x")
        (folder.path / "inner").mkdir()
        folder.remove()
        assert not folder.path.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_folder_goes_when_its_owner_is_killed(number: signal.Signals) -> None:
    """kill -9 of the process that made it leaves no folder and no process behind."""
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


def test_a_signal_to_the_owners_group_does_not_take_the_folder_early() -> None:
    """Ctrl-C reaches a terminal's whole group; the process that removes is not in it."""
    with leaving_nothing():
        folder = SharedFolder()
        assert os.getpgid(folder._remover.pid) != os.getpgid(0)
        folder.remove()


def test_folders_do_not_meet() -> None:
    """Two agents of one machine have a folder each."""
    with leaving_nothing():
        one, other = SharedFolder(), SharedFolder()
        assert one.path != other.path
        one.remove()
        assert other.path.is_dir()
        other.remove()


def test_where_shared_memory_is_full_files_do_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without enough room in memory the folder is among the temporary files."""
    monkeypatch.setattr(module, "ROOM_BYTES", 1 << 62)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with leaving_nothing():
        folder = SharedFolder()
        assert folder.path.parent == tmp_path
        folder.remove()


def test_where_no_folder_can_be_made_nothing_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that is not there makes no folder and raises nothing."""
    monkeypatch.setattr(module, "MEMORY", tmp_path / "neither")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nor"))
    assert shared_folder() is None
