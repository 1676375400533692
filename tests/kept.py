"""An agent behind a keeper on this machine; as a program, a driver that tests kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skygrid.engine.engine import PullEngine
from skygrid.engine.settings import EngineSettings
from skygrid.journal.in_memory import MemoryJournal
from skygrid.listener import SilentListener
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.ssh.reconnecting import NodeGoneError, Patience, ResumingTransport
from skygrid.plan.records import Outcome
from skygrid.queue.policies import QueuePolicies
from skygrid.run.rounds import JournaledRounds
from skygrid.sklearn_search.driven_search import fit_search
from skygrid.worker.keeper.bridge import NO_KEEPER_EXIT, MarkSkipper
from skygrid.worker.wire.frames import FrameReader
from skygrid.worker.wire.messages.from_agent import FromAgent, Greeting
from tests.processes import WAIT_SECONDS

QUICK = Patience(
    ping_seconds=0.3,
    silence_seconds=WAIT_SECONDS,
    give_up_seconds=100 * WAIT_SECONDS,
    first_connect_seconds=100 * WAIT_SECONDS,
    longest_delay_seconds=0.5,
)
"""Short where a test waits, long where a busy machine would count as dead."""

FITS = 39 * 5 * 5


def agent(slots: int = 2) -> list[str]:
    """Return the command of an agent."""
    return [sys.executable, "-P", "-m", "skygrid.worker", "--slots", str(slots)]


def bridge(folder: Path, command: Sequence[str], orphan_after: float = 30.0) -> list[str]:
    """Return the command of a bridge."""
    return [
        sys.executable, "-P", "-m", "skygrid.worker.keeper.bridge",
        "--folder", str(folder), "--orphan-after", str(orphan_after), "--", *command,
    ]  # fmt: skip


class BridgeProcess:
    """A channel to a keeper on this machine: a bridge instead of an SSH channel."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._mark = MarkSkipper()
        self.sent = self.received = 0
        """Bytes of the stream."""

        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0
        )

    def read(self) -> bytes:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            if rest := self._mark.feed(data):
                self.received += len(rest)
                return rest
        if self.process.wait() == NO_KEEPER_EXIT:
            raise NodeGoneError("the agent and its keeper have ended")
        return b""

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.sent += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self.process.stdin.fileno(), view) :]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Kept:
    """One driver's view of a kept agent: its transport and all connections made."""

    def __init__(
        self,
        folder: Path,
        orphan_after: float = 30.0,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.channels: list[BridgeProcess] = []
        self._orphan_after = orphan_after
        self._agent = agent() if command is None else list(command)
        self.lost = False
        """True if no further connection can be made."""

        self.others: list[Kept] = []
        self.engine_greeting: Greeting | None = None
        """Greeting of the agent to the last engine that ran on it."""

        self.states: list[str] = []
        self.transport = ResumingTransport(self.connect, QUICK, self.states.append, clock=clock)
        self._reader = FrameReader(FromAgent)

    def another(
        self, command: Sequence[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> Kept:
        """Return another driver of the same folder."""
        self.others.append(Kept(self.folder, self._orphan_after, command, clock))
        return self.others[-1]

    def settled(self) -> bool:
        """Return whether the keeper has received everything written."""
        return self.transport._stream.settled

    def connect(self) -> BridgeProcess:
        """Connect to the keeper; only the first connection may start it."""
        if self.lost:
            raise ConnectionRefusedError("no route")
        command = [] if any(one.received for one in self.channels) else self._agent
        channel = BridgeProcess(bridge(self.folder, command, self._orphan_after))
        self.channels.append(channel)
        return channel

    def next_greeting(self) -> Greeting | None:
        """Return the agent's next greeting; None at the end of the stream."""
        while data := self.transport.read():
            for message in self._reader.feed(data):
                if isinstance(message, Greeting):
                    return message
        return None

    def greeting(self) -> Greeting:
        """Connect, and wait for the agent's greeting."""
        self.transport.start()
        greeting = self.next_greeting()
        assert greeting is not None, self.transport.ended()
        return greeting

    def names(self) -> Sequence[str]:
        return ["kept"]

    def new_transport(self, name: str, watcher: Watcher) -> Transport:
        return self.transport

    def successor(self, name: str) -> str | None:
        return None

    def keepers(self) -> list[psutil.Process]:
        """Return the keepers of the folder: one or none."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if "skygrid.worker.keeper.keeper" in (process.info["cmdline"] or [])
            and str(self.folder) in process.info["cmdline"]
        ]

    def family(self) -> list[psutil.Process]:
        """Return the current keeper, agent and slots."""
        found = []
        for keeper in self.keepers():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                found += [keeper, *keeper.children(recursive=True)]
        return found

    def cut(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill or stop the current connection."""
        self.channels[-1].process.send_signal(number)

    def let_go(self) -> None:
        """End all connections, as the end of the driver's process does."""
        self.lost = True
        for channel in self.channels:
            channel.process.send_signal(signal.SIGCONT)
            channel.close()


class Trouble(SilentListener):
    """Runs an action once `at` fits are recorded."""

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self._at = at
        self._action = action
        self.recorded = 0

    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None:
        before, self.recorded = self.recorded, self.recorded + len(outcomes)
        if before < self._at <= self.recorded:
            self._action()


def search() -> GridSearchCV:
    """Return a search of `FITS` fits."""
    tree = DecisionTreeClassifier(random_state=0)
    grid = {"max_depth": list(range(1, 40)), "min_samples_leaf": list(range(1, 6))}
    return GridSearchCV(tree, grid, cv=5, refit=False)


def samples(large: bool) -> tuple[Any, Any]:
    """Return the iris data; if `large`, padded to a third of a megabyte."""
    X, y = load_iris(return_X_y=True)
    # Constant columns cost a tree nothing.
    return (np.hstack([X, np.zeros((len(X), 300))]) if large else X), y


def run(
    kept: Kept,
    listener: Trouble,
    *,
    verbose: int = 0,
    logs: Path | None = None,
    large: bool = False,
) -> Any:
    """Fit the search on the kept agent, with trouble."""

    class Provider:
        names, transport, successor = kept.names, kept.new_transport, kept.successor
        set_modules = staticmethod(lambda imported: None)
        close = staticmethod(lambda: None)
        shares_modules = False

    engine = PullEngine(Provider(), EngineSettings(), listener)  # type: ignore[arg-type]
    engine.start()
    if logs is not None:
        engine.keep_logs(logs)
    try:
        rounds = JournaledRounds(engine, MemoryJournal(), QueuePolicies(), listener)
        fitted = fit_search(search().set_params(verbose=verbose), *samples(large), {}, rounds)
    finally:
        kept.engine_greeting = engine.greetings.get("kept")
        engine.close()
    assert len(rounds.outcomes) == listener.recorded == FITS
    return fitted


def main() -> None:
    """Run the search in a FOLDER; print a line when a hundred fits are recorded."""

    def tell() -> None:
        sys.stdout.write("so many\n")
        sys.stdout.flush()

    run(Kept(Path(sys.argv[1])), Trouble(100, tell), large=True)


if __name__ == "__main__":
    main()
