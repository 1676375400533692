"""Folders that someone else filled run no code before the user agrees."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.command import Command, skygrid
from tests.terminal import Terminal

SEARCH = """
from pathlib import Path
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

with open({trace!r}, "a") as trace:
    trace.write("executed ")

estimator = DecisionTreeClassifier(random_state=0)
param_grid = {{"max_depth": [1, 2]}}
cv = 2
dataset = load_iris(return_X_y=True)
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file with a word for each execution of the search file."""
    return tmp_path / "trace"


@pytest.fixture
def foreign(tmp_path: Path, trace: Path) -> Path:
    """The folder of all runs, with one that was made elsewhere and brought here."""
    there = tmp_path / "there"
    there.mkdir()
    (there / "search.py").write_text(SEARCH.format(trace=str(trace)))
    skygrid(there, "run", "search.py", "--name", "r", "--quiet")
    shutil.copytree(there / "skygrid-runs", tmp_path / "skygrid-runs")
    trace.unlink()
    return tmp_path


def test_a_run_of_someone_else_is_not_resumed_without_consent(foreign, trace):
    """Without a terminal, resume refuses a foreign folder and executes nothing; --trust agrees."""
    _, err = skygrid(foreign, "resume", "r", expect=2)

    assert "skygrid-runs/r may not be yours: it was made elsewhere" in err
    assert f"and {foreign}/there/search.py" in err
    assert "--trust" in err
    assert not trace.exists()

    skygrid(foreign, "resume", "r", "--trust", "--quiet")
    assert trace.read_text() == "executed "
    skygrid(foreign, "resume", "r", "--quiet")  # the consent is remembered


def test_the_report_of_someone_else_executes_nothing(foreign, trace):
    """A report loads no code from a foreign folder, shows no file of this user, and waits for no
    pipe."""
    folder = foreign / "skygrid-runs" / "r"
    (folder / "search.py").unlink()  # the copy; run.json names the original
    skygrid(foreign, "report", "r")

    text = (folder / "report.html").read_text()
    assert "The search file is shown for runs that you made yourself." in text
    assert "<iframe" not in text
    assert not trace.exists()

    for name in ("journal.sqlite", "result.json", "search.pkl", "search.py", "logs/driver.log"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    skygrid(foreign, "report", "r")
    assert "is not a regular file" in (folder / "report.html").read_text()


def test_a_changed_run_is_foreign_also_in_its_place(foreign, trace):
    """A run.json that names another search file, as an archive may bring it, runs nothing."""
    there = foreign / "there"
    evil = there / "evil.py"
    evil.write_text(SEARCH.format(trace=str(trace)))
    path = there / "skygrid-runs" / "r" / "run.json"
    skygrid(there, "resume", "r", "--quiet")
    trace.unlink()
    path.write_text(path.read_text().replace("/search.py", "/evil.py"))

    _, err = skygrid(there, "resume", "r", expect=2)

    assert "it was made elsewhere, changed, or made by another user" in err
    assert not trace.exists()


def test_a_folder_that_others_can_write_is_asked_about_each_time(foreign, trace):
    """A consent is not remembered while others can change the folder."""
    there = foreign / "there"
    (there / "skygrid-runs" / "r").chmod(0o777)

    skygrid(there, "resume", "r", "--trust", "--quiet")
    trace.unlink()
    _, err = skygrid(there, "resume", "r", expect=2)

    assert "other users can write to it" in err
    assert not trace.exists()


def test_secrets_of_another_run_are_refused(foreign, trace):
    """secrets.json restores credentials, and changes no other setting."""
    there = foreign / "there"
    path = there / "skygrid-runs" / "r" / "secrets.json"
    path.write_text('{"format": 1, "settings": {"environment.index_url": "http://evil/simple"}}')

    _, err = skygrid(there, "resume", "r", expect=2)

    assert "secrets.json does not belong to the run.json beside it" in err
    assert not trace.exists()


def test_the_hint_works_where_no_mark_can_be_made(foreign, trace):
    """Without a home folder for the key, the printed resume line has --trust."""
    (foreign / "file").touch()
    env = {"XDG_STATE_HOME": str(foreign / "file")}
    there = foreign / "there"
    stopped = ("run", "search.py", "--name", "h", "--max-hours", "1e-9", "--quiet")
    code, _, err = Command(there, *stopped, env=env).end()
    assert code == 4, err
    hint = err.split("go on with: skygrid ")[1].split("\n")[0].split()
    assert hint == ["resume", "h", "--trust"]
    code, _, err = Command(there, *hint, "--max-hours", "1", "--quiet", env=env).end()
    assert code == 0, err


def test_salvage_of_a_run_of_someone_else_needs_consent(foreign, trace):
    """--salvage changes no folder that may not be resumed."""
    journal = foreign / "skygrid-runs" / "r" / "journal.sqlite"
    journal.write_bytes(b"damaged")

    skygrid(foreign, "resume", "r", "--salvage", expect=2)

    assert journal.read_bytes() == b"damaged"


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may give a file away")
def test_a_folder_of_another_user_is_not_resumed(foreign, trace):
    """A folder that was given to another user is foreign although this user made it."""
    run = foreign / "there" / "skygrid-runs" / "r"
    os.chown(run, 65534, 65534)

    _, err = skygrid(foreign / "there", "resume", "r", expect=2)

    assert "r may not be yours: it belongs to " in err
    assert not trace.exists()


@pytest.mark.parametrize("answer", ["n", "y"])
def test_the_question_is_asked_on_a_terminal(foreign, trace, answer):
    """On a terminal resume asks; no ends it with nothing executed, yes goes on."""
    terminal = Terminal(foreign, "resume", "r", "--quiet", env={})
    terminal.wait_for("Resume it? [y/N]")
    assert not trace.exists()
    terminal.type(answer)

    code, _ = terminal.end()

    assert code == (0 if answer == "y" else 130)
    assert trace.exists() == (answer == "y")


@pytest.fixture
def project(tmp_path: Path, trace: Path) -> Path:
    """A project whose skygrid.toml names an SSH config that runs a command."""
    (tmp_path / "ssh_config").write_text(f'Match exec "echo executed >> {trace}"\n  User me\n')
    (tmp_path / "ssh_config").chmod(0o600)
    (tmp_path / "skygrid.toml").write_text(
        'on = "ssh"\n[ssh]\nhosts = ["127.0.0.1:1"]\nconfig_file = "ssh_config"\n'
    )
    (tmp_path / "search.py").write_text(SEARCH.format(trace=str(tmp_path / "other")))
    return tmp_path


@pytest.mark.parametrize("command", ["doctor", "run search.py", "check search.py"])
def test_an_ssh_config_that_a_project_names_is_not_evaluated(project, trace, command):
    """The SSH config of a skygrid.toml that was merely there is refused, and runs nothing."""
    _, err = skygrid(project, *command.split(), expect=2)

    assert "names the SSH config" in err
    assert f"--config {project}/skygrid.toml" in err
    assert not trace.exists()


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH")
def test_an_ssh_config_of_a_named_file_is_evaluated(project, trace):
    """A config file that the user names by hand may name an SSH config."""
    skygrid(project, "doctor", "--config", "skygrid.toml", expect=3)

    assert trace.exists()


def test_other_commands_work_beside_such_a_project_file(project, trace):
    """Commands that need no host read the same skygrid.toml without complaint."""
    out, _ = skygrid(project, "runs", "--json")

    assert json.loads(out)["runs"] == []
    assert not trace.exists()
