"""Commands end as they should when signals, streams or disks are not as usual."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.command import (
    GATED_SEARCH,
    SLOW_SEARCH,
    Command,
    gone,
    recorded,
    result,
    skygrid,
    wait_for,
)
from tests.disks import remount, small_disk

pytestmark = pytest.mark.faults

QUICK_SEARCH = SLOW_SEARCH.replace("seconds=0.1", "seconds=0.0")

LOADING = 'import time\nopen("loading", "w").close()\ntime.sleep(300)\n'
"""A search file that is never loaded."""

SKYGRID = f"{sys.executable} -m skygrid"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a search of 40 quick fits."""
    (tmp_path / "search.py").write_text(QUICK_SEARCH)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a complete run, which tests only read."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "search.py").write_text(QUICK_SEARCH)
    skygrid(folder, "run", "search.py", "--name", "r", "--quiet")
    return folder


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_file_is_loaded_is_acknowledged(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A signal outside a session is acknowledged before the agents end; it leaves no process."""
    (tmp_path / "search.py").write_text(LOADING)
    command = Command(tmp_path, "run", "search.py")
    wait_for((tmp_path / "loading").exists, "the file is being loaded")
    family = command.family()
    command.signal(number)
    said = "interrupted: stopping; once more to stop at once\nerror: interrupted\n"
    assert command.end() == (128 + number, "", said)
    wait_for(lambda: gone(family), "agents end with the command")
    assert not (tmp_path / "skygrid-runs").exists()


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    """A run under ``nohup`` in the background of a shell outlives a logout and a Ctrl-C."""
    (tmp_path / "search.py").write_text(GATED_SEARCH)
    ignoring = f'trap "" HUP INT; exec {SKYGRID} run search.py --name r'
    process = subprocess.Popen(["sh", "-c", ignoring], cwd=tmp_path, stderr=subprocess.PIPE)
    wait_for(lambda: recorded(tmp_path, "r") >= 1, "the run works")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert recorded(tmp_path, "r") == 40


@pytest.mark.parametrize("closed", ["<&- >&-", "<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams_ends_as_any_other(folder: Path, closed: str) -> None:
    """Closed standard streams are no reason to hang: their numbers are given to nothing else."""
    done = shell(folder, f"exec {SKYGRID} run search.py --name r {closed}")
    assert done.returncode == 0, done.stderr
    assert result(folder, "r")["best_params"]


def test_messages_that_cannot_be_written_do_not_end_a_run(folder: Path) -> None:
    """A full disk behind stderr costs the messages only."""
    done = shell(folder, f"exec {SKYGRID} run search.py --json 2>/dev/full")
    assert (done.returncode, done.stdout[:1]) == (0, "{")


def test_results_that_cannot_be_written_are_said_to_be_kept(folder: Path) -> None:
    """A full disk behind stdout ends a complete run with 6, and the results stay."""
    done = shell(folder, f"exec {SKYGRID} run search.py --name r --json >/dev/full")
    assert done.returncode == 6, done.stderr
    assert done.stderr.endswith(
        "error: cannot write to stdout: No space left on device. Make room and repeat the command, "
        "or print the results of a run again with `skygrid show RUN`\n"
    )
    out, _ = skygrid(folder, "show", "r")
    assert "best" in out


@pytest.mark.parametrize("unbuffered", ["", "PYTHONUNBUFFERED=1"])
@pytest.mark.parametrize(
    "command", ["--version", "run --help", "show r", "show r --json", "runs", "logs r"]
)
def test_every_command_names_a_full_disk_behind_stdout(
    finished: Path, command: str, unbuffered: str
) -> None:
    """A text that cannot be written ends any command with 6 and advice, buffered or not."""
    done = shell(finished, f"exec env {unbuffered} {SKYGRID} {command} >/dev/full")
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith("error: cannot write to stdout: No space left on device.")


@pytest.mark.parametrize("unbuffered", ["", "PYTHONUNBUFFERED=1"])
@pytest.mark.parametrize("command", ["--help", "show r --json"])
def test_a_reader_that_ends_early_is_no_error(
    finished: Path, command: str, unbuffered: str
) -> None:
    """A closed pipe behind stdout ends a command without a message."""
    done = shell(finished, f"env {unbuffered} {SKYGRID} {command} | true")
    assert (done.returncode, done.stderr) == (0, "")


def test_texts_of_fits_reach_the_terminal_without_escape_sequences(folder: Path) -> None:
    """Tracebacks, warnings and parameters of fits are shown as plain text, now and later."""
    path = folder / "search.py"
    rude = "\\x1b]0;owned\\x07\\x1b[2J"
    fails = f"import warnings; warnings.warn('{rude}'); assert self.shift == 0, '{rude}'"
    text = path.read_text().replace("time.sleep(self.seconds)", fails)
    text = text.replace('{"shift": [', f'{{"seconds": ["{rude}"], "shift": [')
    path.write_text(text)
    done = shell(folder, f"exec {SKYGRID} run search.py --name r -v")
    shown = done.stdout + done.stderr
    for command in ("show r", "logs r", "runs"):
        shown += skygrid(folder, *command.split())[0]
    assert done.returncode == 0, shown
    assert shown.count("owned") > 5
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system for the runs."""
    with small_disk(folder / "disk", "4m") as path:
        yield path


def begun(folder: Path) -> Command:
    """Return a command whose run has recorded fits and waits for the file `go`."""
    (folder / "search.py").write_text(GATED_SEARCH)
    command = Command(folder, "run", "search.py", "--name", "r", "--runs-dir", "disk")
    (folder / "skygrid-runs").symlink_to("disk")
    wait_for(lambda: recorded(folder, "r") >= 1, "the run works")
    return command


def assert_resumable(folder: Path, command: Command) -> None:
    """Check that a command ends with 6, its journal's advice and a hint that works."""
    (folder / "go").touch()
    code, _, err = command.end()
    assert code == 6, err
    assert "bug" not in err
    assert "cannot write" in err
    assert "go on with: skygrid resume disk/r\n" in err
    remount(folder / "disk", "size=64m")
    (folder / "disk" / "ballast").unlink()
    skygrid(folder, "resume", "disk/r")
    assert recorded(folder, "r") == 40


def test_a_run_on_a_full_disk_can_be_resumed(folder: Path, disk: Path) -> None:
    """A full disk ends the run with 6; once there is room, the run is resumed."""
    command = begun(folder)
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert_resumable(folder, command)
