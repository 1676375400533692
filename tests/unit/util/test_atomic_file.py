"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from skygrid.util.atomic_file import atomic_file, remove_leftovers

KILLED = """
import os, sys
from pathlib import Path
from skygrid.util.atomic_file import atomic_file

with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    os.kill(os.getpid(), 9)
"""


def test_a_killed_writer_leaves_the_old_file_and_nothing_after_a_clean_up(tmp_path: Path) -> None:
    """kill -9 while a file is written keeps its old content; the temporary file is removed later,
    but not that of a process that still writes, nor a file of another name."""
    target = tmp_path / "result.json"
    target.write_text("old")
    (tmp_path / ".keep.2").mkdir()
    (tmp_path / "notes.1").touch()
    subprocess.run([sys.executable, "-c", KILLED, target], check=False)
    assert len(list(tmp_path.iterdir())) == 4
    with atomic_file(tmp_path / "mine") as file:
        file.write(b"new")
        remove_leftovers(tmp_path)
        assert (tmp_path / f".mine.{os.getpid()}").exists()
    assert target.read_text() == "old"
    assert (tmp_path / "mine").read_bytes() == b"new"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"result.json", ".keep.2", "notes.1", "mine"}
