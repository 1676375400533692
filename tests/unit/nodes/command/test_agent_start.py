"""The command of a node, the line that starts its agent, and the worker's code."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from skygrid.nodes.command.agent_start import ANY_PYTHON, MARK, AgentStart
from skygrid.nodes.command.boot import problem
from skygrid.nodes.command.provider import fill

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker run -i image {agent}", "docker run -i image sh"),
        ("ssh {node} 'nice {agent}'", "ssh command-1 'nice sh'"),
        ("run -c {concurrency} {agent}", "run -c 4 sh"),
        ("x=${node}; awk '{print}' {other} {agent}", "x=${node}; awk '{print}' {other} sh"),
    ],
)
def test_a_command_is_filled_in(text: str, expected: str) -> None:
    """The three names in braces are replaced; variables of the shell and other braces stay."""
    assert fill(text, {"agent": "sh", "node": "command-1", "concurrency": "4"}) == expected


def test_a_value_is_one_word_of_the_shell() -> None:
    """A filled-in value cannot add words or commands."""
    rude = "a b; touch 'x' $(y)"
    assert shlex.split(fill("run {node}", {"node": rude})) == ["run", rude]


def _answer(start: AgentStart, *, path: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the line in a shell; the agent ends at once, because no driver greets it."""
    environment = {**os.environ, **({"PATH": str(path)} if path else {})}
    return subprocess.run(
        ["/bin/sh"], input=start.line, capture_output=True, env=environment, check=False, timeout=60
    )


def test_a_python_of_another_version_is_named() -> None:
    """A Python of another minor version than the driver's is refused before any code is sent."""
    assert problem("3.1", 0) == f"it is Python {MINOR}, and the driver's is 3.1"
    assert not problem(MINOR, 100)


def test_a_node_without_python_is_named(tmp_path: Path) -> None:
    """A node without any of the names prints which names were tried, and does not answer."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    said = _answer(AgentStart(arguments=(), hash_seed=0, pythons=ANY_PYTHON), path=tmp_path)
    assert (said.returncode, said.stdout) == (90, b"")
    assert said.stderr.decode() == (
        f"skygrid: the node has none of these on its PATH: python3 python{MINOR} python\n"
    )


def test_the_first_python_that_has_the_packages_is_used(tmp_path: Path) -> None:
    """A python3 without scikit-learn is passed over for a later name that has it."""
    for program in ("sh", "tail"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # -S: without site-packages
    bare.chmod(0o755)
    start = AgentStart(arguments=(), hash_seed=0, pythons=ANY_PYTHON)
    assert (
        b"python3: it lacks scikit-learn, cloudpickle, msgspec"
        in _answer(start, path=tmp_path).stderr
    )
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "python").chmod(0o755)
    answer = _answer(start, path=tmp_path)
    assert answer.stdout == MARK
    assert b"the channel ended before the worker's code had arrived" in answer.stderr


def test_the_code_is_the_worker_alone() -> None:
    """The zip file has the worker's modules and an empty package; a shared node gets none."""
    start = AgentStart(arguments=(), hash_seed=0, pythons=ANY_PYTHON)
    with zipfile.ZipFile(io.BytesIO(start.code)) as archive:
        names = archive.namelist()
    assert "skygrid/__init__.py" in names
    assert "skygrid/worker/agent/agent.py" in names
    assert all(name.startswith(("skygrid/worker/", "skygrid/__init__")) for name in names)
    assert AgentStart(arguments=(), hash_seed=0, pythons=ANY_PYTHON, shared=True).code == b""


def test_the_line_does_not_contain_the_mark() -> None:
    """A terminal that echoes the line is not taken for an agent."""
    assert MARK.strip() not in AgentStart(arguments=(), hash_seed=0, pythons=ANY_PYTHON).line
