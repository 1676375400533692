"""Errors about login shells: what is tried again, and what is not."""

from __future__ import annotations

import pytest

from skygrid.nodes.ssh.failures import (
    NoCommandError,
    UnreachableError,
    no_command,
    reads_input,
    shell_is_silent,
)
from skygrid.nodes.ssh.targets import SshOptions, Target, find_target


@pytest.fixture
def target() -> Target:
    """A host of this machine's own configuration."""
    return find_target("me@gpu1:2222", SshOptions())


@pytest.mark.parametrize("status", [0, 1, 127])
def test_a_login_shell_that_runs_no_command_is_not_tried_again(target: Target, status: int) -> None:
    """The error has the exit code, the host's last lines, and a command that shows the same."""
    error = no_command(target, status, "This account is currently not available.")
    assert isinstance(error, NoCommandError)
    assert f"exit code {status} and printed: This account is" in str(error)
    assert "ssh -p 2222 -l me gpu1 echo works" in str(error)
    assert "printed nothing" in str(no_command(target, status, ""))


def test_a_host_that_starts_or_shuts_down_is_tried_again(target: Target) -> None:
    """sshd refuses all users but root for a while (/etc/nologin), and says why."""
    error = no_command(target, 254, "System is booting up.")
    assert isinstance(error, UnreachableError)
    assert "System is booting up." in str(error)


def test_a_slow_login_shell_is_tried_again(target: Target) -> None:
    """A shell that waits for input stays so; one that is slow may be faster next time."""
    assert isinstance(reads_input(target), NoCommandError)
    assert isinstance(shell_is_silent(target), UnreachableError)
