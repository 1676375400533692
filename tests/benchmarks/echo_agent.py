"""An agent that fits nothing and answers at once, so that only the driver's time is measured."""

from __future__ import annotations

import os
import platform

from skygrid.worker.machine import machine
from skygrid.worker.wire.frames import FrameReader, encode
from skygrid.worker.wire.messages.from_agent import BlobWanted, Greeting, Pull, RoundReady
from skygrid.worker.wire.messages.results import FitResult, Report
from skygrid.worker.wire.messages.to_agent import (
    BlobChunk,
    BlobOffer,
    Grant,
    Lease,
    OpenRound,
    Stop,
    ToAgent,
)
from skygrid.worker.wire.protocol import PROTOCOL

IN_HAND = 200


def main() -> None:
    """Speak the protocol until the driver closes the input."""
    reader = FrameReader(ToAgent)
    _send(
        Greeting(
            protocol=PROTOCOL,
            versions=machine.versions(),
            host=platform.node(),
            cpu=machine.cpu_model(),
            machine=platform.machine(),
            vcpus=1,
            memory_bytes=1,
            slots=1,
            threads_per_slot=1,
            pid=os.getpid(),
        )
    )
    while data := os.read(0, 1 << 20):
        for message in reader.feed(data):
            match message:
                case OpenRound():
                    _send(RoundReady(round=message.round))
                    _send(Pull(round=message.round, count=IN_HAND))
                case Grant():
                    results = [_result(lease) for lease in message.leases]
                    _send(Report(round=message.round, results=results))
                    _send(Pull(round=message.round, count=IN_HAND))
                case Stop():
                    return
                case BlobOffer():
                    _send(BlobWanted(digest=message.digest, offset=message.size))
                case BlobChunk():
                    continue


def _result(lease: Lease) -> FitResult:
    return FitResult(
        lease=lease.id,
        candidate=lease.candidate,
        slot=0,
        status="scored",
        test_scores=1.0 / lease.id,
        train_scores=None,
        n_test_samples=10,
        fit_seconds=1e-3,
        score_seconds=1e-4,
        busy_seconds=1.1e-3,
    )


def _send(message: object) -> None:
    data = memoryview(encode(message))
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
