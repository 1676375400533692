"""Connections that need more than a name and a key, and hosts with another Python."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.command import GATED_SEARCH
from tests.programs import program
from tests.ssh_runs import Bench
from tests.sshd import SshBed, ssh_bed
from tests.unix_users import unix_user

__all__ = ["ssh_bed"]

PASSPHRASE = "it's a long way"
UV = Path(sysconfig.get_path("scripts")) / "uv"


@pytest.fixture
def bench(tmp_path: Path, ssh_bed: SshBed) -> Bench:
    """Set up a search of 40 fits, and no node."""
    return Bench(tmp_path, ssh_bed)


def test_output_of_a_login_shell_is_ignored(bench: Bench) -> None:
    """Output of a login shell's start files does not disturb the agent's messages."""
    bench.node(banner_noise="Welcome!\nYou have mail.\n")
    bench.ended_well(bench.start())


def test_an_account_that_runs_no_command_ends_the_run_at_once(bench: Bench) -> None:
    """The run ends after one login, with the host's own last words and the next step."""
    with unix_user(program("nologin")) as user:
        node = bench.node(prepared=False, login=user)
        err = bench.ended_with(3, bench.start())
    assert "exit code 1 and printed: This account is currently not available." in err
    assert node.log.read_text().count("Accepted publickey") == 1
    assert "echo works" in err


def test_two_hosts_behind_one_jump_host_both_work(bench: Bench) -> None:
    """Both hosts work, and the jump host gets one login for each."""
    gate = bench.node(host=False, alias="gate")
    bench.node(jump="gate")
    bench.node(jump="gate")
    bench.ended_well(bench.start())
    assert set(bench.nodes()) == {"node2", "node3"}
    logins = gate.log.read_text().count("Accepted publickey")
    assert logins == 2


def test_a_key_that_only_the_agent_has_is_used(bench: Bench) -> None:
    """A key without a file is taken from the SSH agent."""
    bench.node()
    bench.bed.start_agent(only=True)
    bench.ended_well(bench.start())


def test_a_key_with_a_passphrase_is_named(bench: Bench) -> None:
    """Without an SSH agent the run ends before any fit and prints the ssh-add command."""
    bench.node()
    bench.bed.lock_key(PASSPHRASE)
    err = bench.ended_with(3, bench.start())
    assert f"the key {bench.bed.key} for node1 has a passphrase" in err
    assert f"ssh-add {bench.bed.key}" in err
    assert PASSPHRASE not in err
    assert not (bench.folder / "ledger.txt").exists()


@pytest.mark.parametrize("public_half", ["beside it", "inside it alone"])
def test_a_key_with_a_passphrase_is_used_from_the_agent(bench: Bench, public_half: str) -> None:
    """After ssh-add the key is used, even without a .pub file."""
    node = bench.node()
    bench.bed.lock_key(PASSPHRASE)
    bench.bed.start_agent(passphrase=PASSPHRASE)
    if public_half == "inside it alone":
        bench.bed.key.with_suffix(".pub").unlink()
    code, _, err = bench.doctor().end()
    assert code == 0, err
    assert "Accepted publickey" in node.log.read_text()


def test_a_search_runs_with_a_key_that_has_a_passphrase(bench: Bench) -> None:
    """A whole run works with the SSH agent, also when a connection is restored."""
    node = bench.node()
    bench.bed.lock_key(PASSPHRASE)
    bench.bed.start_agent(passphrase=PASSPHRASE)
    command = bench.started(5)
    node.kill_connections()
    err = bench.ended_well(command)
    assert "reconnecting" in err
    assert bench.attempts() == {1: 40}


# ---- another Python ------------------------------------------------------------------------------

TOOLS = "sh uname mkdir mktemp tar gzip rm df awk sed tail head find cp mv touch grep cat tr date"


PLACES = (
    "~/.pyenv/versions/*/bin/python3",
    "~/.local/share/uv/python/*/bin/python3",
    "/opt/*/bin/python3",
    "/usr/local/bin/python3.*",
    "/usr/bin/python3.*",
)
"""Paths of further interpreters beside the one on PATH."""


@pytest.fixture(scope="module")
def other_python() -> str:
    """Return an interpreter of another minor version on this machine."""
    for pattern in PLACES:
        for path in sorted(glob.glob(os.path.expanduser(pattern)), reverse=True):
            version = _version(path)
            # uv does not support older ones.
            if version >= (3, 8) and version[1] != sys.version_info[1]:
                return path
    pytest.skip(f"this machine has no Python but 3.{sys.version_info[1]}")


def _version(python: str) -> tuple[int, ...]:
    """Return the version of an interpreter; empty if it is not one."""
    code = "import platform; print(platform.python_version())"
    done = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
    try:
        return tuple(int(part) for part in done.stdout.strip().split("."))
    except ValueError:
        return ()


def host_with(bench: Bench, python: str) -> Any:
    """Add a host that has only this Python and cannot download another."""
    return bench.node(
        prepared=False,
        python=python,
        only_tools=TOOLS.split(),
        environment={"SKYGRID_UV": str(UV), "UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9"},
    )


def test_a_host_with_another_python_alone_is_refused(bench: Bench, other_python: str) -> None:
    """A host with another Python only exits with 3, and the message names both versions."""
    bench.node()
    host_with(bench, other_python)
    err = bench.ended_with(3, bench.start())
    assert "node2" in err
    assert f"no Python 3.{sys.version_info[1]} on this host" in err
    assert f"its python3 is {'.'.join(map(str, _version(other_python)))}" in err
    assert not (bench.folder / "ledger.txt").exists()
    bench.bed.wait_clean()


def test_a_host_with_another_python_is_left_out_if_allowed(bench: Bench, other_python: str) -> None:
    """With min_nodes the run continues without a host with another Python, and says so."""
    (bench.folder / "search.py").write_text(GATED_SEARCH)
    bench.extra = "min_nodes = 1"
    bench.node()
    host_with(bench, other_python)
    command = bench.start()
    assert f"no Python 3.{sys.version_info[1]}" in command.wait_for_line("node2 is lost")
    (bench.folder / "go").touch()
    bench.ended_well(command)
    assert set(bench.nodes()) == {"node1"}


def test_another_python_by_its_path_is_refused(bench: Bench, other_python: str) -> None:
    """A path under [environment] to a Python of another minor version is refused."""
    bench.node(prepared=False, environment={"SKYGRID_UV": str(UV)})
    bench.environment = f'python = "{other_python}"\npackages = ["scikit-learn"]'
    err = bench.ended_with(3, bench.start())
    major, minor = _version(other_python)[:2]
    assert (
        f"{other_python} is Python {major}.{minor} and the driver runs 3.{sys.version_info[1]}"
        in err
    )
    assert not (bench.folder / "ledger.txt").exists()


def test_a_python_that_this_machine_does_not_run_is_refused_at_once(bench: Bench) -> None:
    """A version under [environment] that differs from this machine's exits with 2."""
    bench.node()
    bench.environment = 'python = "3.99"'
    err = bench.ended_with(2, bench.start())
    assert "3.99" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may give a file away")
def test_a_program_that_another_user_put_there_is_not_run(bench: Bench) -> None:
    """No planted program runs in a folder that others can write; run and doctor name the folder."""
    node = bench.node(prepared=False)
    root = node.home / ".cache" / "skygrid"
    trace = bench.folder / "trace"
    uv = root / "tools" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(f"#!/bin/sh\ntouch {trace}\n")
    uv.chmod(0o755)
    root.chmod(0o755)
    for path in (root / "tools", uv.parent, uv):
        os.chown(path, 65534, 65534)

    err = bench.ended_with(3, bench.start())
    assert f"{root}/tools on this host belongs to another user" in err

    root.chmod(0o777)
    code, out, _ = bench.doctor().end()
    assert code == 3
    assert f"{root} belongs to another user or can be changed by one" in out
    assert not trace.exists()
