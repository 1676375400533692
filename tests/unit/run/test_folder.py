"""The folder of a run: its name and who may enter it."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from skygrid.config import RunConfig
from skygrid.errors import UsageError
from skygrid.run.folder import RunFolder, refuse_taken_name


def new_run(folder: Path, search_file: str = "search.py", name: str | None = None) -> RunFolder:
    config = RunConfig(runs_dir=folder / "runs", name=name)
    return RunFolder.create(config, folder / search_file, "0123456789abcdef")


def test_runs_of_the_same_second_have_different_names(tmp_path):
    """Runs that start in the same second get folders of their own."""
    names = [new_run(tmp_path).path.name for _ in range(50)]

    assert len(set(names)) == 50
    assert all(re.fullmatch(r"search-\d{8}-\d{6}-[0-9a-f]{4}", name) for name in names)


@pytest.mark.parametrize("file", ["my search.py", "-x.py", "$(ls).py", "..py", "Größe.py", "@.py"])
def test_made_up_names_need_no_quotes(tmp_path, file):
    """The name of a run can be typed as it is, whatever the name of its search file."""
    name = new_run(tmp_path, file).path.name

    assert shlex.quote(name) == name
    assert name[0].isalnum()


def test_only_its_owner_may_enter_the_folder_of_a_run(tmp_path):
    """A new run's folder has mode 0700 under every umask; the folder of all runs keeps its own."""
    before = os.umask(0o002)
    try:
        path = new_run(tmp_path).path
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o775


def test_a_name_that_is_taken_is_refused_before_anything_is_loaded(tmp_path):
    """Of a run that still works, the message does not advise to resume it."""
    folder = new_run(tmp_path, name="mine")
    config = RunConfig(runs_dir=tmp_path / "runs", name="mine")

    with pytest.raises(UsageError, match=r"there is a run mine in .*another --name; it still runs"):
        refuse_taken_name(config)
    folder.end("interrupted", "stopped")
    with pytest.raises(UsageError, match="another --name, or go on with it: skygrid resume "):
        refuse_taken_name(config)
