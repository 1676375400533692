"""A signal is acknowledged when it arrives."""

from __future__ import annotations

import signal
import subprocess
import sys

from skygrid.run.interrupts import ACKNOWLEDGED

PROGRAM = """
import hashlib, sys
from skygrid.run.interrupts import acknowledged
from skygrid.util.process import interrupt_on_signals

interrupt_on_signals()
with acknowledged(lambda text: print(text, flush=True)):
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # one call of compiled code: minutes
"""


def test_a_signal_during_one_long_call_of_compiled_code_is_acknowledged() -> None:
    """The first signal is acknowledged although Python's handler cannot run yet, the next not."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == f"{ACKNOWLEDGED}\n"
        process.send_signal(signal.SIGINT)
        assert process.poll() is None, "the call still runs"
    finally:
        process.kill()
        rest = process.communicate()[0]
    assert rest == ""
