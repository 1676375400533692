"""An agent that outlives its connections: keeper, bridge and the driver's end of the stream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skygrid.engines.pull import EngineSettings, PullEngine
from skygrid.errors import NodeError
from skygrid.journal.memory import MemoryJournal
from skygrid.listener import SilentListener
from skygrid.plan.records import Outcome
from skygrid.queue.policies import QueuePolicies
from skygrid.results.sklearn_search import fit_search
from skygrid.rounds import JournaledRounds
from skygrid.transports.interface import Transport, Watcher
from skygrid.transports.resuming import NodeGoneError, Patience, ResumingTransport
from skygrid.worker.bridge import NO_KEEPER_EXIT
from skygrid.worker.frames import FrameReader
from skygrid.worker.messages import FromAgent, Greeting
from skygrid.worker.stream import ResumableStream
from tests.command import gone, wait_for

QUICK = Patience(ping_seconds=0.3, silence_seconds=4.0, give_up_seconds=10.0)


class BridgeProcess:
    """A channel to a keeper of this machine: a bridge in the place of an SSH channel."""

    def __init__(self, folder: Path, orphan_after: float, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-P", "-m", "skygrid.worker.bridge",
                "--folder", str(folder), "--orphan-after", str(orphan_after), "--", *command,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )  # fmt: skip

    def read(self) -> bytes:
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data and self.process.wait() == NO_KEEPER_EXIT:
            raise NodeGoneError("the agent and its keeper have ended")
        return data

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self.process.stdin.fileno(), view) :]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Kept:
    """An agent behind a keeper, and every connection that was made to it."""

    def __init__(self, folder: Path, orphan_after: float = 30.0) -> None:
        self.folder = folder
        self.channels: list[BridgeProcess] = []
        self._orphan_after = orphan_after
        self._agent = [sys.executable, "-P", "-m", "skygrid.worker", "--slots", "2"]
        self.lost = False
        """No further connection can be made."""

        self.transport = ResumingTransport(self.connect, QUICK)

    def connect(self) -> BridgeProcess:
        """The first connection starts the keeper; later ones find it or nothing."""
        if self.lost:
            raise ConnectionRefusedError("no route")
        command = [] if self.channels else self._agent
        channel = BridgeProcess(self.folder, self._orphan_after, command)
        self.channels.append(channel)
        return channel

    def names(self) -> Sequence[str]:
        return ["kept"]

    def new_transport(self, name: str, watcher: Watcher) -> Transport:
        return self.transport

    def replaceable(self, name: str) -> bool:
        return False

    def family(self) -> list[psutil.Process]:
        """Keeper, agent and slots, as they are now."""
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if "skygrid.worker.keeper" in line and str(self.folder) in line:
                return [process, *process.children(recursive=True)]
        return []

    def cut(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End, or stop, the connection that is used now."""
        self.channels[-1].process.send_signal(number)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A kept agent, and an end of everything after the test."""
    one = Kept(tmp_path / "kept")
    yield one
    family = one.family()
    one.transport.close()
    for channel in one.channels:
        channel.process.send_signal(signal.SIGCONT)
        channel.close()
    # The word to end, not the orphan's patience of half a minute.
    wait_for(lambda: gone(family), "nothing is left of the kept agent", seconds=20)
    assert not one.folder.exists() or not family


class Trouble(SilentListener):
    """Calls something once so many fits are recorded."""

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self._at = at
        self._action = action
        self.recorded = 0

    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None:
        before, self.recorded = self.recorded, self.recorded + len(outcomes)
        if before < self._at <= self.recorded:
            self._action()


def search() -> GridSearchCV:
    tree = DecisionTreeClassifier(random_state=0)
    grid = {"max_depth": list(range(1, 40)), "min_samples_leaf": list(range(1, 6))}
    return GridSearchCV(tree, grid, cv=5)


def run(kept: Kept, listener: Trouble, verbose: int = 0, logs: Path | None = None) -> Any:
    """The search on the kept agent, with trouble."""

    class Provider:
        names, transport, replaceable = kept.names, kept.new_transport, kept.replaceable
        equip = staticmethod(lambda imported: None)

    engine = PullEngine(Provider(), EngineSettings(), listener)  # type: ignore[arg-type]
    engine.start()
    if logs is not None:
        engine.keep_logs(logs)
    try:
        rounds = JournaledRounds(engine, MemoryJournal(), QueuePolicies(), listener)
        fitted = fit_search(
            search().set_params(verbose=verbose), *load_iris(return_X_y=True), {}, rounds
        )
    finally:
        engine.close()
    assert len(rounds.outcomes) == listener.recorded == 975
    return fitted


def assert_as_scikit_learn(fitted: Any) -> None:
    own = search().fit(*load_iris(return_X_y=True))
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
    kept.transport.start()
    reader = FrameReader(FromAgent)
    wait_for(
        lambda: any(isinstance(m, Greeting) for m in reader.feed(kept.transport.read())),
        "the agent greets",
    )
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
        teacher, self._end = ResumableStream(), ResumableStream()
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

    patience = Patience(give_up_seconds=1.0, first_delay_seconds=0.1, longest_delay_seconds=0.2)
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
    kept.transport.start()
    assert kept.transport.read()
    first = kept.channels[-1].process
    second = BridgeProcess(kept.folder, 30.0, [])
    try:
        wait_for(lambda: first.poll() is not None, "the first bridge ends")
        assert second.read()
    finally:
        second.close()
