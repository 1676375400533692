"""``python -m skygrid.worker``: run an agent on standard input and output."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

from .machine import machine


def main() -> None:
    """Limit the threads before numeric libraries are imported, then run the agent."""
    parser = argparse.ArgumentParser(prog="skygrid.worker")
    parser.add_argument("--slots", type=int, default=0, help="fits at a time; 0: one per vCPU")
    parser.add_argument("--vcpus", type=int, default=0, help="vCPUs to share out; 0: all")
    parser.add_argument("--cache", type=Path, help="folder that keeps data for later runs")
    parser.add_argument("--cache-max-gb", type=float, default=20.0, help="GiB in that folder")
    parser.add_argument(
        "--interruptions", action="store_true", help="heed the interruption of a spot instance"
    )
    parser.add_argument("--departures", action="store_true", help="heed the signals of a scheduler")
    parser.add_argument(
        "--orphan-after", type=float, help="seconds without a message after which the agent ends"
    )
    args = parser.parse_args()
    vcpus = args.vcpus or machine.vcpus()
    slots = args.slots or vcpus
    threads = max(1, vcpus // slots)
    machine.limit_threads(threads)
    # User code must neither read from the channel to the driver nor print into it.
    source, sink = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)

    # Imports create no garbage: collecting during them takes a tenth of their time for nothing.
    gc.disable()
    from skygrid.worker.agent.agent import Agent
    from skygrid.worker.agent.departure import heed_signals
    from skygrid.worker.agent.spot_interruption import start_watching
    from skygrid.worker.data.cache import BlobCache

    gc.freeze()
    gc.enable()
    cache = BlobCache(args.cache, args.cache_max_gb * 2**30) if args.cache else None
    notices = start_watching() if args.interruptions else None
    if args.departures:
        notices = heed_signals()
    agent = Agent(
        source,
        sink,
        slots=slots,
        threads=threads,
        vcpus=vcpus,
        cache=cache,
        notices=notices,
        orphan_after=args.orphan_after,
    )
    agent.run()


if __name__ == "__main__":
    main()
