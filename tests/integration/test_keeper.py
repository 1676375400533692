"""An agent that outlives its connections: keeper, bridge and the driver's end of the stream."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
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
from skygrid.worker.keeper.bridge import IO_ERROR_EXIT, KEEPER_FAILED_EXIT, NO_KEEPER_EXIT
from skygrid.worker.keeper.folder import KeeperFolder
from skygrid.worker.wire.frames import FrameReader, encode
from skygrid.worker.wire.messages.from_agent import AgentLog, FromAgent, Greeting
from skygrid.worker.wire.messages.to_agent import BlobChunk
from skygrid.worker.wire.stream import ResumableStream
from tests.clocks import ManualClock
from tests.command import gone, wait_for
from tests.driven import Driven, Held, Nodes, data, once, tree_search
from tests.driven import assert_as_scikit_learn as assert_same_tree_search
from tests.kept import QUICK, BridgeProcess, Kept, Trouble, agent, bridge, run, samples, search
from tests.processes import kill, wait_until


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A kept agent, which is ended after the test."""
    one = Kept(tmp_path / "kept")
    yield one
    family = one.family()
    for driver in (one, *one.others):
        driver.transport.close()
        driver.let_go()
    # End it now instead of waiting half a minute for its limit as an orphan.
    wait_for(lambda: gone(family), "nothing is left of the kept agent")
    assert not one.folder.exists() or not family


def assert_as_scikit_learn(fitted: Any, *, large: bool = False) -> None:
    for name, column in _alone(large).items():
        if "test" in name:
            assert fitted.cv_results_[name].tolist() == column.tolist(), name


@functools.cache
def _alone(large: bool) -> dict[str, Any]:
    """Return the results of scikit-learn's own fit."""
    results: dict[str, Any] = search().fit(*samples(large)).cv_results_
    return results


def test_a_search_through_a_keeper_equals_scikit_learns(kept: Kept) -> None:
    """A search through keeper and bridge has scikit-learn's scores, without a reconnection."""
    assert_as_scikit_learn(run(kept, Trouble(10**9, lambda: None)))
    assert not kept.states


def test_connections_that_break_cost_nothing(kept: Kept) -> None:
    """A connection killed in mid-run is restored; no outcome is lost or counted twice."""
    assert_as_scikit_learn(run(kept, Trouble(100, kept.cut)))
    assert kept.states[:2] == ["reconnecting", "connected"]


def test_a_silent_connection_is_closed(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """A half-open connection, which no read or write notices, is closed; the log says why."""
    caplog.set_level(logging.INFO, "skygrid.nodes.ssh.reconnecting")
    clock = ManualClock()
    other = kept.another(clock=clock)

    def fall_silent() -> None:
        other.cut(signal.SIGSTOP)
        # Earlier bytes may be read, and count as a sign of life, after the first look at the clock.
        wait_until(
            lambda: other.states or clock.advance(QUICK.silence_seconds + 1), "the end of it"
        )

    assert_as_scikit_learn(run(other, Trouble(100, fall_silent)))
    assert "connected" in other.states
    assert f"a connection broke: it was silent for {QUICK.silence_seconds:g} s" in caplog.messages


class OddChannel(BridgeProcess):
    """Raises an unexpected error in reading once `works` is set, or in writing much."""

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
def test_an_unexpected_error_of_a_connection_costs_its_node_only(
    fault: str, tmp_path: Path
) -> None:
    """An unexpected error on a thread of a connection loses its node; others finish the run."""
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
    # Data is written before a node is ready. The other faults come once both nodes are ready.
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
    # The keeper would wait for its driver to return.
    for keeper in Kept(tmp_path / "kept").keepers():
        keeper.terminate()


def test_a_killed_agent_is_not_waited_for(kept: Kept) -> None:
    """When keeper and agent are killed, the node is lost at once with a reason."""

    def lose_both() -> None:
        for process in kept.family():
            kill(process.pid)  # the agent ends by itself when its keeper has

    with pytest.raises(NodeError, match="no node is left"):
        run(kept, Trouble(100, lose_both))


def test_prints_of_fits_arrive_between_the_messages(kept: Kept, tmp_path: Path) -> None:
    """Each line that a fit prints is in the node's log and breaks no message."""
    run(kept, Trouble(10**9, lambda: None), verbose=2, logs=tmp_path)
    lines = (tmp_path / "kept.log").read_text().splitlines()
    assert len([line for line in lines if line.startswith("[CV] END")]) == 975


class Stranger:
    """Channel to an end that has received more than was sent to it."""

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


def test_connections_to_another_stream_lose_the_node() -> None:
    """Connections that succeed without use end with the loss of the node."""
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


def test_attempts_are_delayed() -> None:
    """The delay doubles with each attempt up to its bound, and half of that delay is random."""
    patience = Patience(first_delay_seconds=0.2, longest_delay_seconds=10.0)
    for attempt, most in ((1, 0.2), (2, 0.4), (5, 3.2), (7, 10.0), (1000, 10.0)):
        assert most / 2 <= patience.delay(attempt) <= most


def test_only_the_user_reaches_the_socket(kept: Kept) -> None:
    """Only its owner has access to the folder of the socket."""
    kept.transport.start()
    wait_for((kept.folder / "socket").exists, "the keeper listens")
    assert kept.folder.stat().st_mode & 0o077 == 0


def test_a_second_connection_replaces_the_first(kept: Kept) -> None:
    """The keeper ends the first bridge when its driver connects again."""
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
    """The agent greets a second driver, and the first one is refused for good."""
    first = kept.greeting()
    other = kept.another()
    greeting = other.greeting()
    assert (greeting.pid, greeting.slots) == (first.pid, 2)
    assert kept.next_greeting() is None
    assert kept.transport.ended() == "another driver has taken over this node"
    with pytest.raises(BrokenPipeError, match="taken over"):
        kept.transport.write(b"something")
    assert len(kept.channels) == 1


def test_a_replaced_driver_is_refused_at_its_next_connection(kept: Kept) -> None:
    """A driver whose connection was broken during the takeover is refused when it reconnects."""
    first = kept.greeting()
    kept.lost = True
    kept.cut()
    other = kept.another()
    assert other.greeting().pid == first.pid
    kept.lost = False
    assert kept.next_greeting() is None
    assert kept.transport.ended() == "another driver has taken over this node"
    # The first driver did not replace the second one.
    assert other.states == []


def test_blobs_of_the_agent_are_not_sent_again(kept: Kept) -> None:
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
    # The keeper passes on all that it has received, also after this driver's end.
    wait_for(kept.settled, "the keeper has it all")
    kept.let_go()
    other = kept.another()
    assert other.greeting().blobs == (digests[0],)


def test_half_a_frame_of_a_dead_driver_is_dropped(kept: Kept) -> None:
    """The agent understands a second driver after half a message of the first one."""
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
    """Kill a driver in mid-run and return the process id of its agent."""
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


def test_a_search_continues_after_its_driver_was_killed(kept: Kept, killed_driver: int) -> None:
    """The agent of a killed driver runs the next driver's search on the data that it has."""
    fitted = run(kept, Trouble(10**9, lambda: None), large=True)
    assert kept.engine_greeting.pid == killed_driver
    assert_as_scikit_learn(fitted, large=True)
    # X alone is larger than all bytes that were sent.
    assert 0 < sum(one.sent for one in kept.channels) < samples(large=True)[0].nbytes


def test_fits_of_a_killed_driver_end_at_the_next_greeting(kept: Kept, killed_driver: int) -> None:
    """At its second greeting the agent has no slots and sends no messages of the earlier round."""
    transport = kept.transport
    transport.start()
    messages = FrameReader(FromAgent).feed(transport.read())
    assert isinstance(next(m for m in messages if not isinstance(m, AgentLog)), Greeting)
    assert psutil.Process(killed_driver).children() == []


def test_another_command_starts_another_agent(kept: Kept) -> None:
    """A driver with other slots gets a new agent, and the old one ends."""
    first = kept.greeting()
    family = kept.family()
    # Between the end of one keeper and the start of the next, a reconnecting driver finds none.
    kept.lost = True
    kept.cut()
    other = kept.another(agent(slots=3))
    greeting = other.greeting()
    kept.lost = False
    assert greeting.slots == 3
    assert greeting.pid != first.pid
    wait_for(lambda: gone(family), "nothing is left of the first agent")
    # Its keeper has ended, and the present one does not know its session.
    assert kept.next_greeting() is None
    assert "its agent is gone" in kept.transport.ended()
    assert len(other.keepers()) == 1


def unvisited(kept: Kept, *options: str) -> list[psutil.Process]:
    """Start an agent whose driver sends nothing; return the keeper and the agent."""
    command = bridge(kept.folder, agent())
    place = command.index("--")
    channel = BridgeProcess([*command[:place], *options, *command[place:]])
    kept.channels.append(channel)
    wait_for(lambda: len(kept.family()) == 2, "keeper and agent are there")
    return kept.family()


def test_an_agent_waits_for_the_first_data_of_a_driver(kept: Kept) -> None:
    """A connection that breaks before any data leaves the agent for the next connection."""
    family = unvisited(kept)
    kept.channels[-1].close()
    assert kept.greeting().pid == family[1].pid


def test_another_kit_starts_another_agent(kept: Kept) -> None:
    """An agent from another kit is replaced, also with the same command."""
    family = unvisited(kept, "--kit", "of yesterday")
    assert kept.greeting().pid != family[1].pid
    wait_for(lambda: gone(family), "nothing is left of the first agent")


def test_a_folder_without_a_keeper_is_replaced(kept: Kept) -> None:
    """The folder of a killed keeper is removed, and a new driver starts another agent."""
    first = kept.greeting()
    family = kept.family()
    kept.keepers()[0].kill()
    wait_for(lambda: gone(family), "the agent ends with its keeper")
    assert kept.next_greeting() is None
    assert kept.transport.ended() == "the agent and its keeper have ended"
    other = kept.another()
    assert other.greeting().pid != first.pid


def test_a_bridge_without_a_command_removes_stale_files(tmp_path: Path) -> None:
    """Without a command a bridge exits with NO_KEEPER_EXIT and removes folder and lock."""
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


def test_a_start_removes_folders_of_keepers_that_were_killed(tmp_path: Path) -> None:
    """A killed keeper of this host leaves nothing; folders of living ones, and others', stay."""
    folders = {name: KeeperFolder(tmp_path / name) for name in ("living", "killed", "rebooted")}
    folders["elsewhere"] = KeeperFolder(tmp_path / "elsewhere")
    for folder in folders.values():
        folder.make(["agent"])
        folder.path.with_name(f"{folder.path.name}.lock").touch()
    here = (tmp_path / "killed/host").read_text()
    (tmp_path / "rebooted/host").write_text(f"{here.split()[0]} another-boot")
    (tmp_path / "elsewhere/host").write_text(f"not-{here}")
    (tmp_path / "something else").mkdir()
    with folders["living"].listen():
        folders["living"].publish()
        KeeperFolder(tmp_path / "new").clear_abandoned()
    left = {"living", "elsewhere", "something else", "living.lock", "elsewhere.lock"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_simultaneous_bridges_start_one_keeper(kept: Kept) -> None:
    """One of several bridges starts the keeper, and all of them connect to it."""
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
    """The path of a socket is limited to 107 bytes; that of its folder is not."""
    kept = Kept(tmp_path / ("long" * 30) / ("longer" * 30))
    assert kept.greeting().slots == 2
    family = kept.family()
    kept.transport.close()
    wait_for(lambda: gone(family), "keeper and agent end")
    wait_for(lambda: list(kept.folder.parent.iterdir()) == [], "folder and lock are gone")


def test_a_folder_of_others_is_not_used(tmp_path: Path) -> None:
    """A folder that others can enter ends in a one-line error without a keeper."""
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
    """The bridge prints why the keeper did not start, and leaves no files."""
    command = bridge(tmp_path / "kept", [str(tmp_path / "missing")])
    done = subprocess.run(command, check=False, input=b"", capture_output=True)
    assert done.returncode == KEEPER_FAILED_EXIT
    assert b"skygrid: the keeper did not start: FileNotFoundError" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_of_an_agent_that_ends_at_once_is_logged(tmp_path: Path) -> None:
    """Text that an agent prints before it dies reaches the driver, and its folder is removed."""
    command = [sys.executable, "-c", "import sys; sys.exit('no numpy here')"]
    kept = Kept(tmp_path / "kept", command=command)
    kept.transport.start()
    (log,) = FrameReader(FromAgent).feed(kept.transport.read())
    assert log == AgentLog(text="no numpy here")
    assert kept.transport.read() == b""
    wait_for(lambda: list(tmp_path.iterdir()) == [], "folder and lock are gone")


def test_sigterm_of_a_keeper_ends_its_processes(kept: Kept) -> None:
    """SIGTERM ends the agent and all processes of its session."""
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


def test_a_keeper_without_its_folder_ends(kept: Kept) -> None:
    """A keeper whose folder is gone cannot be reached, so it ends with its connection."""
    kept.greeting()
    family = kept.family()
    shutil.rmtree(kept.folder)
    kept.cut()
    wait_for(lambda: gone(family), "keeper and agent end")
    assert kept.next_greeting() is None


def test_sigterm_of_a_bridge_ends_no_agent(kept: Kept) -> None:
    """SIGTERM ends a bridge; the agent continues."""
    first = kept.greeting()
    kept.cut(signal.SIGTERM)
    assert kept.channels[0].process.wait() == 128 + signal.SIGTERM
    wait_for(lambda: kept.states == ["reconnecting", "connected"], "it is mended")
    assert kept.another().greeting().pid == first.pid


def test_the_first_connection_has_its_own_patience() -> None:
    """Attempts to reach a new node end after first_connect_seconds, with the reason."""

    clock, attempts = ManualClock(), []

    def connect() -> BridgeProcess:
        attempts.append(clock.now)
        clock.advance(10.0)
        raise ConnectionRefusedError("no route to it")

    patience = Patience(first_connect_seconds=60.0, longest_delay_seconds=0.0)
    with pytest.raises(NodeError, match="no route to it"):
        ResumingTransport(connect, patience, clock=clock).start()
    assert len(attempts) == 7


def test_an_unreachable_node_is_lost_for_good(tmp_path: Path) -> None:
    """A node that cannot be reached again is lost, and no new agent is started there."""
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
