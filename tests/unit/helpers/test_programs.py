"""Tests fail if a program that they use cannot be installed."""

from __future__ import annotations

import pytest

from tests import programs


def test_a_program_that_cannot_be_installed_fails_the_test_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without OpenSSH the test fails instead of skipping, and the message names the package."""
    monkeypatch.setattr(programs, "find", lambda name: None)
    monkeypatch.setattr(programs.os, "getuid", lambda: 1000)
    with pytest.raises(AssertionError, match="apt-get install openssh-server"):
        programs.program("sshd")
