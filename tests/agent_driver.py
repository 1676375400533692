"""A driver of one agent for tests: sends chosen messages and keeps all that it receives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sklearn

from skygrid.worker.evaluation.contents import RoundTasks, SearchData, SearchWork
from skygrid.worker.evaluation.joblib_backend import context_of_fits
from skygrid.worker.user_code.warning_rules import WarningRule
from skygrid.worker.wire.blobs import Blob
from skygrid.worker.wire.frames import FrameReader, encode
from skygrid.worker.wire.messages.from_agent import (
    FromAgent,
    Greeting,
    Returned,
    RoundReady,
    SlotDied,
)
from skygrid.worker.wire.messages.results import FitResult, Report
from skygrid.worker.wire.messages.to_agent import BlobChunk, Grant, Lease, OpenRound, Recall, Setup
from skygrid.worker.wire.protocol import PROTOCOL
from tests.processes import WAIT_SECONDS, children

LOG_BYTES = 1_000_000


def samples(n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return X of shape (n, 2) and y with two classes."""
    return np.arange(2.0 * n).reshape(n, 2), np.arange(n) % 2


def search_of(estimator: Any, scorer: Any, **changes: Any) -> SearchWork:
    """Return the content of a search blob."""
    work = SearchWork(
        estimator=estimator,
        scorer=scorer,
        return_train_score=False,
        error_score=np.nan,
        verbose=0,
        sklearn_config=sklearn.get_config(),
        joblib=context_of_fits(None),
        warning_rules=[WarningRule("default", None, "builtins:Warning", None, 0)],
    )
    return replace(work, **changes)


class AgentEnded(AssertionError):
    """The agent ended while a test waited for a fact."""


class AgentDriver:
    """One agent process, started at once.

    Parameters
    ----------
    start_method : {"fork", "spawn", "auto"}
    slots, vcpus : int
    command : sequence of str, optional
        Command of the agent; default: this interpreter's ``-m skygrid.worker``.
    env : mapping, optional
        Environment; default: that of this process.
    """

    def __init__(
        self,
        start_method: str = "fork",
        *,
        slots: int = 1,
        vcpus: int | None = None,
        command: Sequence[str] = (sys.executable, "-P", "-m", "skygrid.worker"),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.start_method = start_method
        self.slots = slots
        self.round = -1
        self.heard: list[Any] = []
        self.log = bytearray()
        self._next_lease = 1
        self._start = 0
        self._ended = False
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [*command, "--slots", str(slots), "--vcpus", str(vcpus or slots)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=env,
        )
        self.pid = self._process.pid
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._listen, self._drain)
        ]
        for thread in self._threads:
            thread.start()

    # -- the pipes

    def _listen(self) -> None:
        reader = FrameReader(FromAgent)
        try:
            while data := os.read(self._process.stdout.fileno(), 1 << 16):
                for message in reader.feed(data):
                    with self._news:
                        self.heard.append(message)
                        self._news.notify_all()
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _drain(self) -> None:
        while data := os.read(self._process.stderr.fileno(), 1 << 16):
            self.log += data
            del self.log[:-LOG_BYTES]

    def send(self, message: Any) -> None:
        """Send a message to the agent."""
        self.send_bytes(encode(message))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes to the agent."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._process.stdin.fileno(), view) :]

    def hang_up(self) -> None:
        """Close the agent's standard input."""
        self._process.stdin.close()

    def wait_end(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for the agent's end and its last messages; return its exit code."""
        code = self._process.wait(seconds)
        for thread in self._threads:
            thread.join(seconds)
        return code

    def close(self) -> None:
        """End the agent, by force if necessary."""
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(5)
        self._process.stdout.close()
        self._process.stderr.close()

    def __enter__(self) -> AgentDriver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- received messages

    @property
    def alive(self) -> bool:
        """True while the agent has not closed its output."""
        return not self._ended

    def since_open(self, kind: type) -> list[Any]:
        """Return the messages of a kind since the round was opened."""
        return [message for message in self.heard[self._start :] if isinstance(message, kind)]

    def wait(
        self,
        kind: type,
        where: Callable[[Any], bool] = lambda message: True,
        seconds: float = WAIT_SECONDS,
    ) -> Any:
        """Wait for the first matching message since the round was opened."""
        found: list[Any] = []

        def arrived() -> bool:
            found[:] = [message for message in self.since_open(kind) if where(message)]
            return bool(found)

        self.wait_for(arrived, kind.__name__, seconds)
        return found[0]

    def wait_for(self, fact: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until a fact about the received messages is true."""
        met = False

        def settled() -> bool:
            # Asked once: slots come and go, so a fact may be false again a moment later.
            nonlocal met
            met = fact()
            return met or self._ended

        with self._news:
            self._news.wait_for(settled, seconds)
        if met:
            return
        if self._ended:
            raise AgentEnded(f"ended before {what}: {self.heard[-1:]} {self.log[-2000:].decode()}")
        raise AssertionError(f"waited {seconds:g} s in vain for {what}; {self.heard[-3:]}")

    # -- sent messages

    def setup(self, **options: Any) -> None:
        """Send the setup, with frequent heartbeats."""
        options = {"heartbeat_seconds": 0.05, "start_method": self.start_method} | options
        self.send(Setup(protocol=PROTOCOL, **options))

    def greeted(self) -> Greeting:
        """Wait for the agent's greeting."""
        return self.wait(Greeting)

    def send_blob(self, value: Any) -> str:
        """Send a blob in chunks; return its digest."""
        blob = Blob(value)
        for offset, data in blob.chunks():
            chunk = BlobChunk(digest=blob.digest, size=blob.size, offset=offset, data=bytes(data))
            self.send(chunk)
        return blob.digest

    def send_round(
        self,
        search: SearchWork,
        candidates: Sequence[Mapping[str, Any]] = ({},),
        *,
        data: tuple[Any, Any] | None = None,
        n_splits: int = 1,
        keeps: bool = False,
    ) -> None:
        """Send and open a round, without waiting for the slots."""
        X, y = data or samples()
        everything = np.arange(len(y))
        splits = [(everything, everything)] * n_splits
        names = {
            "data": self.send_blob(SearchData(X=X, y=y, fit_params={}, score_params={})),
            "search": self.send_blob(search),
            "plan": self.send_blob(RoundTasks(candidates=list(candidates), splits=splits)),
        }
        self.round += 1
        self._start = len(self.heard)
        self.send(OpenRound(round=self.round, keeps=keeps, **names))

    def open(self, *args: Any, **options: Any) -> None:
        """Call `send_round`, and wait until all slots run."""
        self.send_round(*args, **options)
        self.wait(RoundReady, lambda message: message.round == self.round)
        self.wait_for(lambda: len(self.slot_pids()) >= self.slots, "all slots")

    def grant(self, *tasks: tuple[int, int] | int, alone: bool = False) -> list[int]:
        """Grant leases for tasks, each a candidate or (candidate, split); return their numbers."""
        pairs = [task if isinstance(task, tuple) else (task, 0) for task in tasks]
        leases = []
        for candidate, split in pairs:
            leases.append(Lease(self._next_lease, candidate, split, alone))
            self._next_lease += 1
        self.send(Grant(round=self.round, leases=leases))
        return [lease.id for lease in leases]

    # -- results of leases

    def accounts(self) -> dict[int, list[Any]]:
        """Return the reported ends of each lease: results, deaths, the word "returned"."""
        ends: dict[int, list[Any]] = {}
        for message in self.heard[self._start :]:
            match message:
                case Report():
                    for result in message.results:
                        ends.setdefault(result.lease, []).append(result)
                case SlotDied():
                    ends.setdefault(message.lease, []).append(message)
                case Returned():
                    for lease in message.leases:
                        ends.setdefault(lease, []).append("returned")
        return ends

    def ends(self, leases: Iterable[int], seconds: float = WAIT_SECONDS) -> list[Any]:
        """Wait until each of these leases has ended; fail if one ended more than once."""
        wanted = list(leases)
        self.wait_for(lambda: set(wanted) <= self.accounts().keys(), f"leases {wanted}", seconds)
        accounts = self.accounts()
        counts = Counter({lease: len(accounts[lease]) for lease in wanted})
        assert set(counts.values()) <= {1}, f"reported more than once: {counts}"
        return [accounts[lease][0] for lease in wanted]

    def run(self, *tasks: tuple[int, int] | int, **options: Any) -> list[Any]:
        """Call `grant` and `ends`."""
        return self.ends(self.grant(*tasks, **options))

    def scores(self, *tasks: tuple[int, int] | int) -> list[Any]:
        """Run fits that must be scored; return their test scores."""
        results = self.run(*tasks)
        assert all(isinstance(result, FitResult) for result in results), results
        assert {result.status for result in results} == {"scored"}, results
        return [result.test_scores for result in results]

    def fence(self) -> None:
        """Wait until the agent has processed all messages sent so far."""
        before = len(self.since_open(Returned))
        self.send(Recall(count=0))
        self.wait_for(lambda: len(self.since_open(Returned)) > before, "an answer to a recall")

    def slot_pids(self) -> set[int]:
        """Return the process ids of the agent's descendants."""
        return children(self.pid)
