"""An agent that outlives its connections: keeper, bridge and the driver's end of the stream."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skygrid.errors import NodeError
from skygrid.transports.resuming import Patience, ResumingTransport
from skygrid.worker.stream import ResumableStream
from tests.command import gone, wait_for
from tests.kept import BridgeProcess, Kept, Trouble, run, samples, search


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A kept agent, and an end of everything after the test."""
    one = Kept(tmp_path / "kept")
    yield one
    family = one.family()
    one.transport.close()
    one.let_go()
    # The word to end, not the orphan's patience of half a minute.
    wait_for(lambda: gone(family), "nothing is left of the kept agent", seconds=20)
    assert not one.folder.exists() or not family


def assert_as_scikit_learn(fitted: Any, *, large: bool = False) -> None:
    own = search().fit(*samples(large))
    for name, column in own.cv_results_.items():
        if "test" in name:
            assert fitted.cv_results_[name].tolist() == column.tolist(), name


def test_a_search_through_a_keeper_is_the_same_search(kept: Kept) -> None:
    """The agent knows nothing of keeper and bridge, and neither does the answer."""
    assert_as_scikit_learn(run(kept, Trouble(10**9, lambda: None)))
    assert kept.transport.reconnects == 0


def test_connections_that_break_cost_nothing(kept: Kept) -> None:
    """A connection killed in mid-run is mended; nothing is lost, nothing counted twice."""
    assert_as_scikit_learn(run(kept, Trouble(100, kept.cut)))
    assert kept.transport.reconnects >= 1
    assert kept.states[:2] == ["reconnecting", "connected"]


def test_a_connection_that_goes_silent_is_given_up(kept: Kept) -> None:
    """A half-open connection, which no read or write would ever notice, is found by its silence."""
    assert_as_scikit_learn(run(kept, Trouble(100, lambda: kept.cut(signal.SIGSTOP))))
    assert kept.transport.reconnects >= 1


def test_an_agent_that_is_gone_is_not_waited_for(kept: Kept) -> None:
    """When keeper and agent are killed the node is lost at once, and the run says so."""

    def kill() -> None:
        for process in kept.family():
            process.kill()

    with pytest.raises(NodeError, match="no node is left"):
        run(kept, Trouble(100, kill))


def test_an_orphan_ends_itself_and_removes_what_it_made(tmp_path: Path) -> None:
    """With no driver for orphan_after, keeper, agent and slots end and the folder is gone."""
    kept = Kept(tmp_path / "kept", orphan_after=1.0)
    kept.greeting()
    family = kept.family()
    assert len(family) == 2
    # A driver that was killed says nothing: here it cannot connect any more, and is cut off.
    kept.lost = True
    kept.cut()
    wait_for(lambda: gone(family), "the orphan ends")
    wait_for(lambda: not kept.folder.exists(), "its folder is gone")


def test_what_fits_print_arrives_between_the_messages(kept: Kept, tmp_path: Path) -> None:
    """Every line that a fit prints is in the node's log, and breaks no message."""
    run(kept, Trouble(10**9, lambda: None), verbose=2, logs=tmp_path)
    lines = (tmp_path / "kept.log").read_text().splitlines()
    assert len([line for line in lines if line.startswith("[CV] END")]) == 975


class Stranger:
    """A channel to somebody who has received more than was ever sent to him."""

    def __init__(self) -> None:
        session = bytes(16)
        teacher, self._end = ResumableStream(session), ResumableStream(session)
        for end in (teacher, self._end):
            end.connect()
        teacher.write(b"of another stream")
        teacher.feed(self._end.outgoing())
        while data := teacher.outgoing():
            self._end.feed(data)
        self._end.connect()
        self._said = [self._end.outgoing()]

    def read(self) -> bytes:
        return self._said.pop() if self._said else b""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


def test_who_answers_with_another_stream_is_given_up() -> None:
    """Connections that succeed and are of no use are spaced out, and end in the node's loss."""
    visits: list[Stranger] = []

    def connect() -> Stranger:
        visits.append(Stranger())
        return visits[-1]

    patience = Patience(
        first_connect_seconds=1.0, first_delay_seconds=0.1, longest_delay_seconds=0.2
    )
    transport = ResumingTransport(connect, patience)
    transport.start()
    assert transport.read() == b""
    assert "before a word" in transport.ended()
    assert len(visits) < 25


def test_only_the_user_reaches_the_socket(kept: Kept) -> None:
    """The folder of the socket is open to its owner alone."""
    kept.transport.start()
    wait_for((kept.folder / "socket").exists, "the keeper listens")
    assert kept.folder.stat().st_mode & 0o077 == 0


def test_a_second_visit_takes_the_place_of_the_first(kept: Kept) -> None:
    """A driver that comes back is not kept out by what is left of its last connection."""
    kept.greeting()
    first = kept.channels[-1].process
    stream = ResumableStream(kept.transport.session)
    stream.connect()
    second = BridgeProcess(kept.folder, 30.0, [])
    try:
        second.write(stream.outgoing())
        wait_for(lambda: first.poll() is not None, "the first bridge ends")
    finally:
        second.close()
