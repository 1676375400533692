"""Shells complete commands, options and names of runs."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import PATIENCE_SECONDS
from tests.programs import program

RUN = """{"format": 1, "id": "00", "name": "%s", "state": "complete", "search_file": null,
"argv": [], "config": {}, "started_at": 0, "driver": {"pid": 1, "host": "h"}}"""

CODES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x08")

CASES = [
    ("skygrid res", {"resume"}),
    ("skygrid run --conc", {"--concurrency"}),
    ("skygrid run --on sl", {"slurm"}),
    ("skygrid show fir", {"first-1", "first-2"}),
    ("skygrid logs first-1 --node dri", {"driver"}),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with runs."""
    for name in ("first-1", "first-2", "second"):
        run = tmp_path / "skygrid-runs" / name
        (run / "logs").mkdir(parents=True)
        (run / "logs" / "driver.log").touch()
        (run / "run.json").write_text(RUN % name)
    return tmp_path


def test_names_that_a_shell_would_execute_are_not_completed(folder: Path) -> None:
    """A folder whose name is a command, an option or two words is not put into the line."""
    for name in ("first$(id)", "first`id`", "first; id", "-first", "first\n2", "first'"):
        (folder / "skygrid-runs" / name).mkdir()
        (folder / "skygrid-runs" / name / "run.json").write_text(RUN % "odd")

    test_bash_completes(folder, "skygrid show fir", {"first-1", "first-2"})
    test_bash_completes(folder, "skygrid show -fir", set())


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TERM": "xterm", "NO_COLOR": "1"}


def said(folder: Path, *command: str) -> set[str]:
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=True,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return {line.split("\t")[0] for line in done.stdout.split("\n") if line}


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash_completes(folder: Path, line: str, expected: set[str]) -> None:
    """bash completes commands, options, places, runs and nodes."""
    script = (
        f'eval "$(skygrid completion bash)"; COMP_WORDS=({line}); '
        f"COMP_CWORD={len(line.split()) - 1}; _skygrid_completion skygrid; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert said(folder, program("bash"), "--norc", "-c", script) == expected


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_fish_completes(folder: Path, line: str, expected: set[str]) -> None:
    """fish completes the same."""
    script = f"skygrid completion fish | source; complete --do-complete '{line}'"
    assert said(folder, program("fish"), "--no-config", "-c", script) == expected


def test_zsh_completes(folder: Path) -> None:
    """zsh completes the same; a key of its own shows that a completion has ended."""
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        [program("zsh"), "-f", "-i"], cwd=folder, env=environment(), stdin=slave, stdout=slave,
        stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    seen = b""

    def wait_for(text: str) -> None:
        nonlocal seen
        until = time.monotonic() + PATIENCE_SECONDS
        while text.encode() not in seen:
            assert time.monotonic() < until, f"waited in vain for {text!r}: {seen!r}"
            if select.select([master], [], [], 0.1)[0]:
                seen += CODES.sub(b"", os.read(master, 65536))
        seen = seen.partition(text.encode())[2]

    completion = 'eval "$(skygrid completion zsh)"'
    setup = f"autoload -U compinit; compinit -u -D; {completion}; echo rea''dy\n"
    try:
        os.write(master, setup.encode())
        wait_for("ready")
        os.write(master, b"skygrid res\t")
        wait_for("skygrid resume ")
        os.write(master, b"\x15skygrid run --conc\t")
        wait_for("--concurrency ")
        os.write(master, b"\x15skygrid show sec\t")
        wait_for("second")
    finally:
        os.close(master)
        shell.kill()
        shell.wait()
