"""The contract of every transport, and the streams of a child process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from skygrid.errors import NodeError
from skygrid.nodes.command.agent_start import AgentStart
from skygrid.nodes.command.channel import CommandChannel
from skygrid.nodes.gateway.channel import GatewayChannel
from skygrid.nodes.gateway.process import Gateway
from skygrid.nodes.interface import Transport
from skygrid.nodes.local_process import LocalProcess, agent_command
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import FromAgent, Greeting
from tests.kept import Kept
from tests.processes import WAIT_SECONDS, leaving_nothing, marked, running, wait_until
from tests.toy_gateway import SETTINGS, SilentWatcher

ECHO = """
import os
while data := os.read(0, 1 << 16):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]
"""
TALKING = "import os, signal; os.write(2, b'to the log'); os.write(1, b'to the driver'); {then}"
DEAF = "import os, signal; os.write(1, b'up'); signal.pause()"
PARENT = """
import os, signal
if os.fork() == 0:
    os.setpgid(0, 0)
os.write(1, b'up')
signal.pause()
"""

Maker = Callable[[Sequence[str]], Transport]


def kept(command: Sequence[str], folder: Path) -> Transport:
    """Return the transport of SSH and EC2 nodes, with a keeper on this machine."""
    return Kept(folder, command=command).transport


def through_a_command(command: Sequence[str], folder: Path) -> Transport:
    """Return the transport of a user's command, which starts an agent of one slot."""
    arguments = command[command.index("--slots") :]
    start = AgentStart(arguments=arguments, hash_seed=0, shared=True, pythons=[sys.executable])
    return CommandChannel(
        ["/bin/sh", "-c", "sh"],
        start,
        SilentWatcher(),
        start_seconds=WAIT_SECONDS,
        stop_seconds=5.0,
    )


class _WithGateway(GatewayChannel):
    """A channel that closes the gateway of its own too."""

    def close(self) -> None:
        super().close()
        self._gateway.close()


def through_a_gateway(command: Sequence[str], folder: Path) -> Transport:
    """Return the transport of Ray and Dask nodes, to a cluster that needs no library."""
    return _WithGateway(Gateway("tests.toy_cluster", "toys", SETTINGS), 0, SilentWatcher())


TRANSPORTS: dict[str, Callable[[Sequence[str], Path], Transport]] = {
    "local": lambda command, folder: LocalProcess(command),
    "kept": kept,
    "command": through_a_command,
    "gateway": through_a_gateway,
}
"""Transports by name, each for an agent that a command starts."""


@pytest.fixture(params=TRANSPORTS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """Return a function that makes transports, which are closed afterwards and leave nothing."""
    yield from makers(lambda command: TRANSPORTS[request.param](command, tmp_path / "node"))


@pytest.fixture
def made_here() -> Iterator[Maker]:
    """Like `made`, for child processes, which carry any bytes."""
    yield from makers(LocalProcess)


def makers(new: Maker) -> Iterator[Maker]:
    transports = []

    def make(command: Sequence[str]) -> Transport:
        transports.append(new(command))
        return transports[-1]

    with leaving_nothing():
        yield make
        for transport in transports:
            transport.close()


@pytest.fixture
def start(made_here: Maker) -> Callable[[str], Transport]:
    """Return a function that starts Python code at the far end."""

    def run(code: str) -> Transport:
        transport = made_here([sys.executable, "-c", code])
        transport.start()
        return transport

    return run


def greeted(transport: Transport) -> Transport:
    """Start the transport and wait for its agent's greeting."""
    transport.start()
    reader, messages = FrameReader(FromAgent), []
    while not messages:
        data = transport.read()
        assert data, transport.ended()
        messages += reader.feed(data)
    assert isinstance(messages[0], Greeting)
    return transport


def read_to_the_end(transport: Transport) -> None:
    """Read the rest of the agent's output."""
    while transport.read():
        pass


def read_bytes(read: Callable[[], bytes], count: int) -> bytes:
    data = b""
    while len(data) < count:
        portion = read()
        assert portion, f"the stream ended after {data!r}"
        data += portion
    return data


def in_thread(target: Callable[[], Any]) -> Callable[[], Any]:
    """Start a function on a thread; return a function that waits for its result or exception."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(target())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(WAIT_SECONDS)
        assert outcome, "the thread is still at it"
        return outcome[0]

    return result


# -- every transport


def test_an_agent_greets_and_is_ended_by_close(made: Maker) -> None:
    """An agent greets first; `close` ends it and may be called twice."""
    with leaving_nothing() as mark:
        transport = greeted(made(agent_command(1, 1)))
        family = marked(mark)
        assert family
        transport.close()
        transport.close()
        transport.kill()
        wait_until(lambda: not running(family), "the agent to end")


def test_kill_ends_an_agent_without_close(made: Maker) -> None:
    """After `kill` the output ends and `ended` gives a reason."""
    transport = greeted(made(agent_command(1, 1)))
    transport.kill()
    read_to_the_end(transport)
    assert transport.ended()
    assert not transport.mending()


def test_close_ends_a_waiting_read(made: Maker) -> None:
    """Closing ends a waiting read; later reads return nothing, and writes fail."""
    transport = greeted(made(agent_command(1, 1)))
    waiting = in_thread(lambda: read_to_the_end(transport))
    transport.close()
    assert waiting() is None
    assert transport.read() == b""
    assert transport.read_log() == b""
    with pytest.raises(OSError):  # each transport has its own message
        transport.write(b"not for anybody")


def test_close_before_start_prevents_the_start(made: Maker) -> None:
    """A transport that is closed before its start refuses to start."""
    transport = made(agent_command(1, 1))
    transport.kill()
    transport.close()
    with pytest.raises(NodeError, match="closed"):
        transport.start()


# -- streams of a child process


def test_bytes_of_every_value_and_any_number_pass_both_ways(start: Any) -> None:
    transport = start(ECHO)
    data = os.urandom(3_000_000) + bytes(range(256))
    sent = in_thread(lambda: transport.write(data))
    assert read_bytes(transport.read, len(data)) == data
    assert sent() is None


def test_log_and_channel_are_separate(start: Any) -> None:
    transport = start(TALKING.format(then="raise SystemExit(7)"))
    assert read_bytes(transport.read, 13) == b"to the driver"
    assert read_bytes(transport.read_log, 10) == b"to the log"
    assert transport.read() == b""
    assert transport.read_log() == b""
    assert transport.ended() == "exit code 7"


def test_a_signal_that_ended_the_agent_is_named(start: Any) -> None:
    transport = start(TALKING.format(then="os.kill(os.getpid(), signal.SIGSEGV)"))
    read_bytes(transport.read, 13)
    assert transport.read() == b""
    assert transport.ended() == "killed by SIGSEGV"


def test_kill_ends_an_agent_that_ignores_its_input(start: Any) -> None:
    transport = start(DEAF)
    read_bytes(transport.read, 2)
    transport.kill()
    assert transport.read() == b""
    assert transport.ended() == "killed by SIGKILL"
    transport.kill()


def test_a_write_to_an_ended_agent_is_an_error(start: Any) -> None:
    transport = start("pass")
    assert transport.read() == b""
    with pytest.raises(OSError):  # each transport has its own message
        transport.write(b"x" * 10_000_000)


def test_close_ends_threads_that_read_and_write(start: Any) -> None:
    transport = start(DEAF)
    read_bytes(transport.read, 2)
    threads = [
        in_thread(transport.read),
        in_thread(transport.read_log),
        in_thread(lambda: transport.write(b"x" * 10_000_000)),
    ]
    transport.kill()
    transport.close()
    read, log, written = [result() for result in threads]
    assert (read, log) == (b"", b"")
    assert isinstance(written, OSError)


def test_use_after_close_ends_or_fails_and_touches_no_other_file(
    start: Any, tmp_path: Path
) -> None:
    transport = start(ECHO)
    transport.close()
    with (tmp_path / "other").open("w+b") as file:
        assert transport.read() == b""
        assert transport.read_log() == b""
        with pytest.raises(OSError):
            transport.write(b"not for this file")
        file.seek(0)
        assert file.read() == b""


def test_a_missing_command_is_named(made_here: Maker) -> None:
    transport = made_here(["/no/such/python", "-c", ""])
    with pytest.raises(NodeError, match="/no/such/python"):
        transport.start()
    transport.close()


def test_children_of_the_agent_end_with_it(made_here: Maker) -> None:
    with leaving_nothing() as mark:
        transport = made_here([sys.executable, "-c", PARENT])
        transport.start()
        read_bytes(transport.read, 4)
        family = marked(mark)
        assert len(family) == 2
        transport.kill()
        transport.close()
        wait_until(lambda: not running(family), "both processes to end")


def test_a_stopped_agent_is_ended(start: Any) -> None:
    transport = start(ECHO)
    transport.write(b"x")
    read_bytes(transport.read, 1)
    os.kill(transport.pid, signal.SIGSTOP)
    transport.kill()
    transport.close()
    assert not running([transport.pid])
