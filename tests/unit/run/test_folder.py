"""The folder of a run: its name and who may enter it."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from skygrid.config import RunConfig, resume_config
from skygrid.environment.settings import EnvironmentConfig
from skygrid.errors import UsageError
from skygrid.reports.run_record import RunRecord
from skygrid.run.folder import RunFolder, refuse_taken_name
from skygrid.run.secrets_file import recorded_settings, remove_secrets


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


SECRET = EnvironmentConfig(index_url="https://me:s3cret@x.org/simple")


def with_secret(folder: Path) -> RunFolder:
    config = RunConfig(runs_dir=folder / "runs", name="mine", environment=SECRET)
    return RunFolder.create(config, folder / "search.py", "0123456789abcdef")


def test_credentials_are_in_no_record(tmp_path, monkeypatch):
    """run.json has a mask in their place, in settings, arguments and errors; one file has them."""
    monkeypatch.setattr(sys, "argv", ["skygrid", "run", "--config", "https://me:s3cret@x.org"])
    folder = with_secret(tmp_path)
    folder.end("failed", "cannot fetch https://me:s3cret@x.org/simple/numpy")

    having = [one for one in folder.path.rglob("*") if b"s3cret" in one.read_bytes()]
    assert [one.name for one in having] == ["secrets.json"]
    assert having[0].stat().st_mode & 0o777 == 0o600
    assert (folder.path / "run.json").read_text().count("https://****@x.org") == 3


def test_a_resumed_run_has_its_credentials(tmp_path):
    """The settings that resume reads are those of the start; another session keeps them."""
    folder = with_secret(tmp_path)
    record = RunRecord.read(folder.path)

    config = resume_config(recorded_settings(folder.path, record), {"retries": 5})

    assert (config.environment, config.retries) == (SECRET, 5)
    folder.close()
    again = RunFolder.open(folder.path, record, config)
    assert again.record.config["environment"]["index_url"] == "https://****@x.org/simple"


def test_credentials_go_with_the_last_fit(tmp_path):
    """A complete run has no file with credentials; its masked settings can still be read."""
    folder = with_secret(tmp_path)
    remove_secrets(folder.path)
    remove_secrets(folder.path)

    config = resume_config(recorded_settings(folder.path, folder.record), {})

    assert config.environment.index_url == "https://****@x.org/simple"
