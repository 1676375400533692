"""An agent that outlives its connections: keeper, bridge and the driver's end of the stream."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from skygrid.errors import NodeError
from skygrid.nodes.interface import Transport
from skygrid.nodes.local_process import LocalProcess
from skygrid.nodes.ssh.reconnecting import Patience, ResumingTransport
from skygrid.worker.keeper.bridge import IO_ERROR_EXIT, NO_KEEPER_EXIT
from skygrid.worker.wire.frames import FrameReader, encode
from skygrid.worker.wire.messages import AgentLog, BlobChunk, FromAgent, Greeting
from skygrid.worker.wire.stream import ResumableStream
from tests.clocks import ManualClock
from tests.command import gone, wait_for
from tests.driven import Driven, Held, Nodes, data, once, tree_search
from tests.driven import assert_as_scikit_learn as assert_same_tree_search
from tests.kept import QUICK, BridgeProcess, Kept, Trouble, agent, bridge, run, samples, search
from tests.processes import kill, wait_until


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A kept agent, and an end of everything after the test."""
    one = Kept(tmp_path / "kept")
    yield one
    family = one.family()
    for driver in (one, *one.others):
        driver.transport.close()
        driver.let_go()
    # The word to end, not the orphan's patience of half a minute.
    wait_for(lambda: gone(family), "nothing is left of the kept agent")
    assert not one.folder.exists() or not family


def assert_as_scikit_learn(fitted: Any, *, large: bool = False) -> None:
    for name, column in _alone(large).items():
        if "test" in name:
            assert fitted.cv_results_[name].tolist() == column.tolist(), name


@functools.cache
def _alone(large: bool) -> dict[str, Any]:
    """What scikit-learn answers by itself."""
    results: dict[str, Any] = search().fit(*samples(large)).cv_results_
    return results


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
    clock = ManualClock()
    other = kept.another(clock=clock)

    def fall_silent() -> None:
        other.cut(signal.SIGSTOP)
        # What had come before may be read, and count as heard, after the first look at the clock.
        wait_until(
            lambda: other.states or clock.advance(QUICK.silence_seconds + 1), "the end of it"
        )

    assert_as_scikit_learn(run(other, Trouble(100, fall_silent)))
    assert other.transport.reconnects >= 1


class OddChannel(BridgeProcess):
    """Fails as no channel should: in reading once `works` is set, or in writing much."""

    def __init__(self, command: Sequence[str], fault: str, works: threading.Event) -> None:
        super().__init__(command)
        self._fault, self._works, self._written = fault, works, 0

    def read(self) -> bytes:
        data = super().read()
        if self._fault == "read" and self._works.is_set():
            raise LookupError("nobody thought of this")
        return data

    def write(self, data: bytes) -> None:
        self._written += len(data)
        if self._fault == "write" and self._written > 1200:
            raise LookupError("nobody thought of this")
        super().write(data)


@pytest.mark.parametrize("fault", ["read", "write", "connect"])
@pytest.mark.usefixtures("nothing_left")
def test_what_nobody_foresaw_in_a_connection_costs_its_node_and_not_the_run(
    fault: str, tmp_path: Path
) -> None:
    """An odd exception on a thread of a connection loses the node with its reason; others go on."""
    command = bridge(tmp_path / "kept", agent(1))
    channels: list[BridgeProcess] = []

    def connect() -> BridgeProcess:
        if channels and fault == "connect":
            raise LookupError("nobody thought of this")
        channels.append(OddChannel(command, fault, works))
        return channels[-1]

    def cut() -> None:
        channels[0].process.kill()

    lost, works = threading.Event(), threading.Event()
    # Data is written before a node is ready. The other faults come once both nodes are.
    early = fault == "write"
    if not early:
        lost.set()

    def wrap(name: str, times: int, own: LocalProcess) -> Transport:
        return ResumingTransport(connect, QUICK) if name == "node-1" else Held(own, lost)

    with Driven(Nodes(2, wrap), min_nodes=1 if early else 2) as run:
        run.watch.on_lost = lost.set
        run.engine.keep_logs(tmp_path)
        if not early:
            run.watch.on_outcomes = once(cut if fault == "connect" else works.set)
        fitted = run.fit(tree_search(), *data())
    assert_same_tree_search(fitted)
    assert [node for node, _ in run.watch.reasons] == ["node-1"]
    assert "LookupError: nobody thought of this" in run.watch.reasons[0][1]
    assert "Traceback" in (tmp_path / "node-1.log").read_text()
    # It would wait for a driver that comes back.
    for keeper in Kept(tmp_path / "kept").keepers():
        keeper.terminate()


def test_an_agent_that_is_gone_is_not_waited_for(kept: Kept) -> None:
    """When keeper and agent are killed the node is lost at once, and the run says so."""

    def lose_both() -> None:
        for process in kept.family():
            kill(process.pid)  # the agent ends by itself when its keeper has

    with pytest.raises(NodeError, match="no node is left"):
        run(kept, Trouble(100, lose_both))


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
    """Connections that succeed and are of no use end in the node's loss."""
    clock, visits = ManualClock(), []

    def connect() -> Stranger:
        visits.append(clock.now)
        clock.advance(10.0)
        return Stranger()

    patience = Patience(first_connect_seconds=60.0, longest_delay_seconds=0.0)
    transport = ResumingTransport(connect, patience, clock=clock)
    transport.start()
    assert transport.read() == b""
    assert "before any data" in transport.ended()
    assert len(visits) == 7


def test_attempts_are_spaced_out() -> None:
    """The delay doubles from attempt to attempt up to its bound, with a jitter of half of it."""
    patience = Patience(first_delay_seconds=0.2, longest_delay_seconds=10.0)
    for attempt, most in ((1, 0.2), (2, 0.4), (5, 3.2), (7, 10.0), (1000, 10.0)):
        assert most / 2 <= patience.delay(attempt) <= most


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
    second = BridgeProcess(bridge(kept.folder, []))
    try:
        second.write(stream.outgoing())
        wait_for(lambda: first.poll() is not None, "the first bridge ends")
    finally:
        second.close()


def test_a_new_driver_attaches_to_the_living_agent(kept: Kept) -> None:
    """The agent greets the second driver too; the first one is told, and does not come again."""
    first = kept.greeting()
    other = kept.another()
    greeting = other.greeting()
    assert (greeting.pid, greeting.slots) == (first.pid, 2)
    assert kept.next_greeting() is None
    assert kept.transport.ended() == "another driver has taken over this node"
    with pytest.raises(BrokenPipeError, match="taken over"):
        kept.transport.write(b"something")
    assert len(kept.channels) == 1


def test_a_driver_that_was_away_is_told_when_it_comes_back(kept: Kept) -> None:
    """A driver whose connection was broken at the takeover hears of it on its next one."""
    first = kept.greeting()
    kept.lost = True
    kept.cut()
    other = kept.another()
    assert other.greeting().pid == first.pid
    kept.lost = False
    assert kept.next_greeting() is None
    assert kept.transport.ended() == "another driver has taken over this node"
    # It pushed out nobody.
    assert other.states == []


def test_what_the_agent_holds_need_not_be_sent_again(kept: Kept) -> None:
    """Complete blobs outlive their driver and are listed in the greeting; others are dropped."""
    kept.greeting()
    whole, half = b"w" * 3_000_000, b"h" * 1000
    digests = [hashlib.sha256(data).hexdigest() for data in (whole, half)]
    for start in range(0, len(whole), 1_000_000):
        data = whole[start : start + 1_000_000]
        chunk = BlobChunk(digest=digests[0], size=len(whole), offset=start, data=data)
        kept.transport.write(encode(chunk))
    kept.transport.write(
        encode(BlobChunk(digest=digests[1], size=len(half), offset=0, data=half[:10]))
    )
    # What was passed on to the keeper is told to the agent, also after this driver's end.
    wait_for(kept.settled, "the keeper has it all")
    kept.let_go()
    other = kept.another()
    assert other.greeting().blobs == (digests[0],)


def test_half_a_frame_of_a_dead_driver_reaches_nobody(kept: Kept) -> None:
    """The agent understands the second driver, whatever the first was in the middle of saying."""
    first = kept.greeting()
    message = BlobChunk(digest="0" * 64, size=5000, offset=0, data=b"x" * 5000)
    kept.transport.write(encode(message)[:3000])
    wait_for(kept.settled, "the keeper has the half")
    kept.let_go()
    other = kept.another()
    assert_as_scikit_learn(run(other, Trouble(10**9, lambda: None)))
    assert other.engine_greeting.pid == first.pid


@pytest.fixture
def killed_driver(kept: Kept) -> int:
    """A driver that was killed in mid-run; the process id of its agent."""
    command = [sys.executable, "-P", "-m", "tests.kept", str(kept.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "so many\n"
        (agent_process,) = [
            process
            for process in kept.family()
            if "skygrid.worker" in process.cmdline() and process.ppid() == kept.keepers()[0].pid
        ]
        driver.kill()
    return agent_process.pid


def test_a_search_goes_on_after_its_driver_was_killed(kept: Kept, killed_driver: int) -> None:
    """The agent of a driver killed with -9 runs the search of the next one, on the data it has."""
    fitted = run(kept, Trouble(10**9, lambda: None), large=True)
    assert kept.engine_greeting.pid == killed_driver
    assert_as_scikit_learn(fitted, large=True)
    # X alone is larger than all that was said to the agent.
    assert kept.transport.bytes_sent < samples(large=True)[0].nbytes
    assert kept.transport.bytes_received


def test_fits_of_a_killed_driver_end_when_the_next_one_comes(
    kept: Kept, killed_driver: int
) -> None:
    """At its second greeting the agent has no slot, and says nothing of the round before."""
    transport = kept.transport
    transport.start()
    messages = FrameReader(FromAgent).feed(transport.read())
    assert isinstance(next(m for m in messages if not isinstance(m, AgentLog)), Greeting)
    assert psutil.Process(killed_driver).children() == []


def test_another_command_means_another_agent(kept: Kept) -> None:
    """A driver that wants other slots gets a fresh agent; nothing is left of the one before."""
    first = kept.greeting()
    family = kept.family()
    # While one keeper ends and the next one starts its driver would find none.
    kept.lost = True
    kept.cut()
    other = kept.another(agent(slots=3))
    greeting = other.greeting()
    kept.lost = False
    assert greeting.slots == 3
    assert greeting.pid != first.pid
    wait_for(lambda: gone(family), "nothing is left of the first agent")
    # Its keeper is gone, and the one that is there now began without it.
    assert kept.next_greeting() is None
    assert "its agent is gone" in kept.transport.ended()
    assert len(other.keepers()) == 1


def unvisited(kept: Kept, *options: str) -> list[psutil.Process]:
    """Start an agent whose driver sends nothing; its keeper and itself."""
    command = bridge(kept.folder, agent())
    place = command.index("--")
    channel = BridgeProcess([*command[:place], *options, *command[place:]])
    kept.channels.append(channel)
    wait_for(lambda: len(kept.family()) == 2, "keeper and agent are there")
    return kept.family()


def test_an_agent_waits_for_the_first_word_of_a_driver(kept: Kept) -> None:
    """A connection that breaks before its first word leaves the agent for the next connection."""
    family = unvisited(kept)
    kept.channels[-1].close()
    assert kept.greeting().pid == family[1].pid


def test_another_kit_means_another_agent(kept: Kept) -> None:
    """An agent that was started from another kit is replaced, though its command is the same."""
    family = unvisited(kept, "--kit", "of yesterday")
    assert kept.greeting().pid != family[1].pid
    wait_for(lambda: gone(family), "nothing is left of the first agent")


def test_a_folder_without_a_keeper_is_made_anew(kept: Kept) -> None:
    """What a killed keeper left behind is cleared; without a command there is no keeper."""
    first = kept.greeting()
    family = kept.family()
    kept.keepers()[0].kill()
    wait_for(lambda: gone(family), "the agent ends with its keeper")
    assert kept.next_greeting() is None
    assert kept.transport.ended() == "the agent and its keeper have ended"
    other = kept.another()
    assert other.greeting().pid != first.pid


def test_a_bridge_without_a_command_clears_what_is_stale(tmp_path: Path) -> None:
    """It starts nothing, says so with its exit code, and leaves neither folder nor lock."""
    folder = tmp_path / "kept"
    done = subprocess.run(bridge(folder, []), check=False, input=b"", capture_output=True)
    assert (done.returncode, done.stdout) == (NO_KEEPER_EXIT, b"")
    folder.mkdir(mode=0o700)
    listener = socket.socket(socket.AF_UNIX)
    with listener, contextlib.chdir(folder):
        listener.bind("socket")
    done = subprocess.run(bridge(folder, []), check=False, input=b"", capture_output=True)
    assert (done.returncode, done.stdout) == (NO_KEEPER_EXIT, b"")
    assert list(tmp_path.iterdir()) == []


def test_bridges_that_come_together_start_one_keeper(kept: Kept) -> None:
    """Of many bridges at once one starts the keeper, and all of them reach it."""
    bridges = [BridgeProcess(bridge(kept.folder, agent())) for _ in range(4)]
    try:
        for one in bridges:
            stream = ResumableStream(os.urandom(16))
            stream.connect()
            one.write(stream.outgoing())
            assert one.read()
        assert len(kept.keepers()) == 1
    finally:
        for one in bridges:
            one.close()
    kept.greeting()


def test_a_folder_may_have_a_long_path(tmp_path: Path) -> None:
    """The path of a socket is bounded to 107 bytes; that of a folder is not."""
    kept = Kept(tmp_path / ("long" * 30) / ("longer" * 30))
    assert kept.greeting().slots == 2
    family = kept.family()
    kept.transport.close()
    wait_for(lambda: gone(family), "keeper and agent end")
    wait_for(lambda: list(kept.folder.parent.iterdir()) == [], "folder and lock are gone")


def test_a_folder_of_others_is_not_used(tmp_path: Path) -> None:
    """A folder that others can enter is an error with one line of text, and starts nothing."""
    folder = tmp_path / "kept"
    folder.mkdir()
    folder.chmod(0o777)
    done = subprocess.run(bridge(folder, agent()), check=False, input=b"", capture_output=True)
    assert done.returncode == IO_ERROR_EXIT
    assert done.stderr.decode().startswith("skygrid: ")
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""
    assert list(folder.iterdir()) == []


def test_an_agent_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    """The bridge says why the keeper did not start, and leaves nothing behind."""
    command = bridge(tmp_path / "kept", [str(tmp_path / "missing")])
    done = subprocess.run(command, check=False, input=b"", capture_output=True)
    assert done.returncode == IO_ERROR_EXIT
    assert b"skygrid: the keeper did not start: FileNotFoundError" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_ends_at_once_is_heard(tmp_path: Path) -> None:
    """What an agent prints before it dies reaches the driver, and nothing is left of it."""
    command = [sys.executable, "-c", "import sys; sys.exit('no numpy here')"]
    kept = Kept(tmp_path / "kept", command=command)
    kept.transport.start()
    (log,) = FrameReader(FromAgent).feed(kept.transport.read())
    assert log == AgentLog(text="no numpy here")
    assert kept.transport.read() == b""
    wait_for(lambda: list(tmp_path.iterdir()) == [], "folder and lock are gone")


def test_a_keeper_told_to_end_takes_everything_with_it(kept: Kept) -> None:
    """SIGTERM ends the agent, and what its fits had started and left in its session."""
    stray = "import subprocess, sys; subprocess.Popen(['sleep', '1000'], process_group=0)"
    module = f"{stray}; import runpy; sys.argv[1:] = ['--slots', '1']; "
    module += "runpy.run_module('skygrid.worker', run_name='__main__')"
    other = kept.another([sys.executable, "-P", "-c", module])
    other.greeting()
    family = other.family()
    assert "sleep" in {process.name() for process in family}
    other.keepers()[0].terminate()
    wait_for(lambda: gone(family), "nothing is left")
    wait_for(lambda: not kept.folder.exists(), "its folder is gone")
    assert other.next_greeting() is None


def test_a_keeper_whose_folder_is_gone_ends(kept: Kept) -> None:
    """Nobody could reach it any more: once its driver is gone it does not wait for another."""
    kept.greeting()
    family = kept.family()
    shutil.rmtree(kept.folder)
    kept.cut()
    wait_for(lambda: gone(family), "keeper and agent end")
    assert kept.next_greeting() is None


def test_a_bridge_told_to_end_takes_nothing_with_it(kept: Kept) -> None:
    """SIGTERM ends a bridge without noise; the agent goes on."""
    first = kept.greeting()
    kept.cut(signal.SIGTERM)
    assert kept.channels[0].process.wait() == 128 + signal.SIGTERM
    wait_for(lambda: kept.states == ["reconnecting", "connected"], "it is mended")
    assert kept.another().greeting().pid == first.pid


def test_the_first_connection_has_its_own_patience() -> None:
    """Who waits for a node that was never reached waits for a bounded time, and hears why."""

    clock, attempts = ManualClock(), []

    def connect() -> BridgeProcess:
        attempts.append(clock.now)
        clock.advance(10.0)
        raise ConnectionRefusedError("no route to it")

    patience = Patience(first_connect_seconds=60.0, longest_delay_seconds=0.0)
    with pytest.raises(NodeError, match="no route to it"):
        ResumingTransport(connect, patience, clock=clock).start()
    assert len(attempts) == 7


def test_who_cannot_be_reached_any_more_is_not_tried_once_more(tmp_path: Path) -> None:
    """A node that is gone for good is lost for good: its end is no case for a new agent there."""
    patience = Patience(give_up_seconds=60.0, longest_delay_seconds=0.0)
    clock = ManualClock()
    kept = Kept(tmp_path / "agent")

    def connect() -> BridgeProcess:
        clock.advance(10.0)
        return kept.connect()

    kept.transport = ResumingTransport(connect, patience, clock=clock)
    try:
        kept.greeting()
        kept.lost = True
        kept.cut()
        assert kept.next_greeting() is None
        error = kept.transport.error()
        assert error is not None
        assert "it could not be reached: no route" in str(error)
    finally:
        for process in kept.family():
            kill(process.pid)
