"""An agent that gets notices about its machine through a named pipe.

``python -m tests.notified_agent PIPE --slots N --vcpus N``
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from skygrid.worker.machine import machine
from skygrid.worker.wire.frames import encode
from skygrid.worker.wire.messages.from_agent import Leaving


def main() -> None:
    """Run as ``skygrid.worker`` does, with one more pipe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pipe", type=Path)
    parser.add_argument("--slots", type=int)
    parser.add_argument("--vcpus", type=int)
    args = parser.parse_args()
    machine.limit_threads(1)
    channel = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)

    from skygrid.worker.agent.agent import Agent

    # Open it for writing too: a pipe without a writer is at its end.
    notices = os.open(args.pipe, os.O_RDWR)
    Agent(
        0, channel, slots=args.slots, threads=1, vcpus=args.vcpus, cache=None, notices=notices
    ).run()


def command(pipe: Path) -> list[str]:
    """Make the pipe, and return the command that runs such an agent."""
    if not pipe.exists():
        os.mkfifo(pipe)
    return [sys.executable, "-m", "tests.notified_agent", str(pipe)]


NOTICE = encode(Leaving(reason="wanted back", seconds=120.0))


def notify(pipe: Path, notice: bytes = NOTICE) -> None:
    """Send a notice to the agent."""
    descriptor = os.open(pipe, os.O_WRONLY)
    try:
        os.write(descriptor, notice)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
