"""A keeper by a clock that the test moves: silence, renewals, pings, and its end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from skygrid.worker.keeper.folder import KeeperFolder
from skygrid.worker.keeper.keeper import Keeper
from skygrid.worker.limits import (
    FIRST_VISIT_SECONDS,
    KEEPER_PING_SECONDS,
    KEEPER_SILENCE_SECONDS,
    LEASE_RENEWAL_SECONDS,
)
from skygrid.worker.wire.stream import ResumableStream
from tests.clocks import ManualClock
from tests.processes import WAIT_SECONDS, wait_until

ORPHAN_AFTER = 600.0


class Visit:
    """Connection of a driver that the keeper has answered."""

    def __init__(self, folder: KeeperFolder) -> None:
        connected = folder.connect()
        assert connected is not None
        self.sock: socket.socket = connected
        self.sock.settimeout(WAIT_SECONDS)
        stream = ResumableStream(b"one driver, ever")
        stream.connect()
        self.sock.sendall(stream.outgoing())
        self.hear()

    def hear(self) -> bytes:
        """Wait for bytes of the keeper; empty once it has closed the connection."""
        return self.sock.recv(1 << 16)


class Keeping:
    """Keeper in a thread of the test, with `cat` as its agent."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.lease = folder / "lease"
        self.lease.touch()
        self.folder = KeeperFolder(folder / "kept")
        self.folder.make(["cat"])
        self.keeper = Keeper(self.folder, ["cat"], ORPHAN_AFTER, self.lease, self.clock)
        self._thread = threading.Thread(target=self.keeper.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self.folder.reachable, "the keeper to listen")

    def ended(self) -> bool:
        """Wait for the keeper's end; return whether its folder is gone."""
        self._thread.join(WAIT_SECONDS)
        return not self._thread.is_alive() and not self.folder.path.exists()

    def close(self) -> None:
        self.keeper.request_end()
        assert self.ended()


@pytest.fixture
def keeping(tmp_path: Path, nothing_left: str) -> Iterator[Keeping]:
    one = Keeping(tmp_path)
    yield one
    one.close()


def test_a_keeper_waits_a_minute_for_its_first_driver(keeping: Keeping) -> None:
    """A keeper without a first connection ends after FIRST_VISIT_SECONDS."""
    keeping.clock.advance(FIRST_VISIT_SECONDS + 1)
    assert keeping.ended()


def test_a_keeper_waits_longer_for_a_driver_to_return(keeping: Keeping) -> None:
    """After a connection the keeper waits ORPHAN_AFTER for the next one, then ends."""
    Visit(keeping.folder).sock.close()
    keeping.clock.advance(ORPHAN_AFTER - 1)
    Visit(keeping.folder).sock.close()
    keeping.clock.advance(ORPHAN_AFTER - 1)
    last = Visit(keeping.folder)
    last.sock.close()
    keeping.clock.advance(ORPHAN_AFTER + 1)
    assert keeping.ended()


def test_a_silent_connection_is_closed(keeping: Keeping) -> None:
    """The keeper closes a connection over which no ping arrives."""
    visit = Visit(keeping.folder)
    keeping.clock.advance(KEEPER_SILENCE_SECONDS + 1)
    while visit.hear():
        pass
    visit.sock.close()


def test_a_quiet_connection_is_pinged(keeping: Keeping) -> None:
    """The keeper pings when it has no data to send."""
    visit = Visit(keeping.folder)
    keeping.clock.advance(KEEPER_PING_SECONDS)
    assert visit.hear()
    visit.sock.close()


def test_the_lease_of_the_machine_is_renewed_for_a_driver(keeping: Keeping) -> None:
    """While a driver is connected, the keeper touches the lease file of the machine."""
    visit = Visit(keeping.folder)
    for _ in range(3):
        os.utime(keeping.lease, (1, 1))
        keeping.clock.advance(LEASE_RENEWAL_SECONDS)
        wait_until(lambda: keeping.lease.stat().st_mtime > 1, "the lease to be renewed")
    visit.sock.close()
