"""Notice of departure by a signal: a scheduler is about to take the node away.

Slurm sends the signal of ``srun --signal`` before the time limit, and SIGTERM to every process of a
job at the limit and at a preemption: https://slurm.schedmd.com/srun.html#OPT_signal
"""

from __future__ import annotations

import contextlib
import os
import signal

from skygrid.worker.slots import loop
from skygrid.worker.wire.frames import encode
from skygrid.worker.wire.messages.from_agent import Leaving

REASONS = {
    signal.SIGURG: "the time limit of its job is near",
    signal.SIGTERM: "its job is being ended",
}
"""Reason of a notice by its signal. SIGURG harms no process that does not handle it."""


def heed_signals() -> int:
    """Handle the signals; return the file descriptor on which the notice arrives.

    Slots that are forked afterwards survive SIGTERM, so that fits can end in the time that is left.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)

    def note(number: int, _: object) -> None:
        # A full or closed pipe: the agent has had its notice.
        with contextlib.suppress(OSError):
            os.write(write, encode(Leaving(reason=REASONS[signal.Signals(number)])))

    for number in REASONS:
        signal.signal(number, note)
    loop.survives_sigterm = True
    return read
