"""Names of signals for messages."""

from __future__ import annotations

import signal

from skygrid.worker.machine.process_group import signal_name


def test_every_signal_has_a_name() -> None:
    """A process that a real-time signal killed is described like any other."""
    assert signal_name(signal.SIGSEGV) == "SIGSEGV"
    assert signal_name(signal.SIGRTMIN + 3) == f"signal {signal.SIGRTMIN + 3}"
