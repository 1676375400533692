"""Names of signals for messages, and the end of child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType

import pytest

from skygrid.worker.machine.process_group import signal_name, wait_for_end


def test_every_signal_has_a_name() -> None:
    """A process that a real-time signal killed is described like any other."""
    assert signal_name(signal.SIGSEGV) == "SIGSEGV"
    assert signal_name(signal.SIGRTMIN + 3) == f"signal {signal.SIGRTMIN + 3}"


def test_the_end_of_a_child_is_found_beside_a_module_named_resource(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A user's module named resource does not disturb the agent, and stays the user's."""
    theirs = ModuleType("resource")
    monkeypatch.setitem(sys.modules, "resource", theirs)
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    code, peak = wait_for_end(child.pid)
    child.returncode = 3  # reaped
    assert os.waitstatus_to_exitcode(code) == 3
    assert peak > 1_000_000
    assert sys.modules["resource"] is theirs
