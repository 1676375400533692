"""The channel through a command of the user: real shells, real failures, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skygrid.config import load_config
from skygrid.errors import ConfigError, NodeError
from skygrid.nodes.command.agent_start import AgentStart
from skygrid.nodes.command.channel import CommandChannel
from skygrid.nodes.registry import place_of
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import FromAgent, Greeting
from tests.processes import WAIT_SECONDS, leaving_nothing, marked, running, wait_until
from tests.sshd import opened_bed


class Log:
    """Keeps what a channel passes to its watcher."""

    def __init__(self) -> None:
        self.data = b""

    def state(self, text: str) -> None: ...

    def log(self, data: bytes) -> None:
        self.data += data


Maker = Callable[..., CommandChannel]


@pytest.fixture
def through() -> Iterator[Maker]:
    """Return a function that makes a channel through a shell command; nothing may stay."""
    made = []

    def make(
        line: str, *, shared: bool = True, start_seconds: float = WAIT_SECONDS
    ) -> CommandChannel:
        start = AgentStart(
            arguments=("--slots", "1"), hash_seed=7, shared=shared, pythons=[sys.executable]
        )
        channel = CommandChannel(
            ["/bin/sh", "-c", line], start, Log(), start_seconds=start_seconds, stop_seconds=5.0
        )
        made.append(channel)
        return channel

    with leaving_nothing():
        yield make
        for channel in made:
            channel.close()


def greeting(channel: CommandChannel) -> Greeting:
    """Start an agent and return its greeting."""
    channel.start()
    reader = FrameReader(FromAgent)
    while data := channel.read():
        for message in reader.feed(data):
            if isinstance(message, Greeting):
                return message
    raise AssertionError(channel.ended())


@pytest.mark.parametrize(
    "line",
    ["sh", "echo a banner; echo of two lines; exec sh", "env -i \"$(command -v sh)\" -c 'sh'"],
    ids=["plain", "banner", "empty environment"],
)
def test_the_code_reaches_a_node_that_has_no_skygrid(through: Maker, line: str) -> None:
    """An agent starts from the code that the channel brings, also after other output."""
    said = greeting(through(line, shared=False))
    assert said.slots == 1
    assert said.host == os.uname().nodename


def test_an_agent_starts_through_ssh(through: Maker) -> None:
    """`ssh host {agent}` starts an agent, though ssh passes the words to another shell."""
    with opened_bed() as bed:
        bed.node(alias="far")
        ssh = " ".join(bed.ssh_words("far", "sh"))
        channel = through(ssh, shared=False)
        assert greeting(channel).slots == 1
        channel.close()


@pytest.mark.skipif(shutil.which("unshare") is None or os.getuid() != 0, reason="needs root")
def test_an_agent_starts_in_other_namespaces(through: Maker) -> None:
    """An agent starts where process ids and mounts are those of a container."""
    line = "unshare --pid --fork --kill-child --mount-proc sh"
    assert greeting(through(line, shared=False)).pid < 100


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "echo first >&2; echo no such image >&2; exit 125",
            "it ended before an agent answered: exit code 125\nfirst\nno such image",
        ),
        ("no-such-program-here", "exit code 127\n.*no-such-program-here: not found"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("echo not the agent", "exit code 0\nnot the agent"),
        ("exec cat /dev/zero", "its command failed: no mark in the first [0-9]+ bytes"),
    ],
)
def test_a_command_that_starts_no_agent_is_explained(
    through: Maker, line: str, reason: str
) -> None:
    """The error has the exit code and the last lines of a command that ends without an agent."""
    channel = through(line)
    with pytest.raises(NodeError, match=reason):
        channel.start()


def test_a_command_that_never_answers_is_ended(through: Maker) -> None:
    """A command that starts no agent in time is ended, and the error names the limit."""
    channel = through("sleep 1000 & wait", start_seconds=0.5)
    with pytest.raises(NodeError, match=r"started no agent within 0\.5 s \(start_timeout\)"):
        channel.start()


def test_close_ends_a_command_that_has_not_answered(through: Maker) -> None:
    """A channel that is closed during its start ends the command and its children at once."""
    with leaving_nothing() as mark:
        channel = through("trap 'exit 0' TERM; sleep 1000 & wait")
        errors: list[Exception] = []

        def start() -> None:
            try:
                channel.start()
            except NodeError as error:
                errors.append(error)

        thread = threading.Thread(target=start, daemon=True)
        thread.start()
        wait_until(lambda: len(marked(mark)) >= 2, "the command to run")
        channel.close()
        thread.join(WAIT_SECONDS)
        assert "it was given up" in str(errors[0])


def test_a_command_gets_time_to_clean_up(through: Maker, tmp_path: Path) -> None:
    """When the agent has ended, what follows in the command is still run."""
    channel = through(f"sh; echo removed > {tmp_path}/done")
    greeting(channel)
    channel.close()
    assert (tmp_path / "done").read_text() == "removed\n"


def test_a_killed_command_is_a_lost_node(through: Maker) -> None:
    """kill -9 of the command ends the agent and the channel, which names the signal."""
    with leaving_nothing() as mark:
        channel = through("echo to the log >&2; sh; exit")
        agent = greeting(channel).pid
        os.kill(channel.pid, signal.SIGKILL)
        os.kill(agent, signal.SIGKILL)
        while channel.read():
            pass
        assert channel.ended() == "killed by SIGKILL"
        assert channel.error() is None
        assert channel.read_log() == b""
        assert b"to the log\n" in channel._watcher.data  # type: ignore[attr-defined]
        wait_until(lambda: not running(marked(mark)), "everything to end")


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ("", r"needs a command: write start = "),
        ('[command]\nstart = "docker run -i image"', r"must be a command with \{agent\}"),
        ('[command]\nstart = "run {concurrency} {agent}"', "set concurrency too"),
        ('[command]\nstart = "{agent}"\nstart_timeout = 0', "must be seconds, more than 0"),
        ('[command]\nstart = "{agent}"\nstop = 1', "unknown key stop"),
    ],
)
def test_settings_of_a_command_are_checked(tmp_path: Path, table: str, error: str) -> None:
    """A missing or incomplete command is refused before anything starts."""
    (tmp_path / "own.toml").write_text(f'on = "command"\n{table}\n')
    with pytest.raises(ConfigError, match=error):
        place_of(load_config({}, {}, config_file=Path("own.toml"), cwd=tmp_path))


def test_a_command_of_a_found_file_is_not_run(tmp_path: Path) -> None:
    """A skygrid.toml that the user did not name cannot run commands on this machine."""
    (tmp_path / "skygrid.toml").write_text('on = "command"\n[command]\nstart = "{agent}"\n')
    with pytest.raises(ConfigError, match=r"name the file yourself: --config .*skygrid\.toml"):
        place_of(load_config({}, {}, cwd=tmp_path))
