"""Searches through the real engine, on nodes that a test can disturb."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV

from skygrid.engine.engine import PullEngine
from skygrid.engine.settings import EngineSettings
from skygrid.journal.in_memory import MemoryJournal
from skygrid.listener import SilentListener
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.local_process import LocalProcess, agent_command
from skygrid.plan.records import Outcome
from skygrid.queue.policies import QueuePolicies
from skygrid.run.rounds import JournaledRounds
from skygrid.sklearn_search.driven_search import fit_search
from skygrid.worker.wire.frames import FrameReader, encode
from skygrid.worker.wire.messages.from_agent import FromAgent, Heartbeat
from tests.misbehaving import Unhurried
from tests.processes import WAIT_SECONDS


class Nodes:
    """A provider of local agents.

    Parameters
    ----------
    count : int
        Number of nodes.
    wrap : callable
        Called with the node's name, the number of its earlier transports and the new one; returns
        the transport to use.
    slots : int
        Fits at a time on each node.
    """

    shares_modules = True

    def __init__(
        self,
        count: int = 1,
        wrap: Callable[[str, int, LocalProcess], Transport] = lambda name, times, own: own,
        slots: int = 1,
    ) -> None:
        self._count, self._wrap, self._slots = count, wrap, slots
        self.made: dict[str, list[LocalProcess]] = {name: [] for name in self.names()}

    def names(self) -> Sequence[str]:
        return [f"node-{number}" for number in range(1, self._count + 1)]

    def set_modules(self, imported: Collection[str]) -> None: ...

    def transport(self, name: str, watcher: Watcher) -> Transport:
        own = LocalProcess(agent_command(self._slots, self._slots))
        self.made[name].append(own)
        return self._wrap(name, len(self.made[name]) - 1, own)

    def successor(self, name: str) -> str | None:
        return name

    def close(self) -> None: ...

    def pid(self, name: str) -> int:
        """Return the process id of the node's newest agent."""
        return self.made[name][-1].pid


class Passing:
    """A transport that passes everything on; base of those that disturb."""

    shares_files = False

    def __init__(self, own: LocalProcess) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class Held(Passing):
    """Passes no message before an event is set, so that the run cannot end before it."""

    def __init__(self, own: LocalProcess, fact: threading.Event) -> None:
        super().__init__(own)
        self._fact = fact

    def read(self) -> bytes:
        self._fact.wait(WAIT_SECONDS)
        data: bytes = self._own.read()
        return data


class Meddling(Passing):
    """Replaces each message of the agent by the messages that `meddle` returns."""

    def __init__(self, own: LocalProcess, meddle: Callable[[Any], Iterable[Any]]) -> None:
        super().__init__(own)
        self._meddle = meddle
        self._reader = FrameReader(FromAgent)

    def read(self) -> bytes:
        changed = b""
        while not changed:
            data = self._own.read()
            if not data:
                return b""
            for message in self._reader.feed(data):
                changed += b"".join(map(encode, self._meddle(message)))
        return changed


class Watching(SilentListener):
    """Listener that records events and calls back on the engine's thread."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.states: list[tuple[str, str]] = []
        self.reasons: list[tuple[str, str]] = []
        """Lost nodes, each with the reason."""

        self.failures: list[str] = []
        self.on_outcomes: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.on_beat: Callable[[str, Heartbeat], None] = lambda node, beat: None

    def node_changed(self, node: str, state: str) -> None:
        self.states.append((node, state))

    def node_lost(self, node: str, reason: str) -> None:
        self.states.append((node, "lost"))
        self.reasons.append((node, reason))
        self.on_lost()

    def node_beat(self, node: str, beat: Heartbeat) -> None:
        self.on_beat(node, beat)

    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes
        self.on_outcomes()

    def attempt_failed(
        self, node: str, candidate: int, split: int, detail: str, *, again: bool
    ) -> None:
        self.failures.append(detail)

    @property
    def losses(self) -> int:
        """Number of times that a node was lost."""
        return sum(state == "lost" for _, state in self.states)


class Driven:
    """Context of an engine on these nodes.

    Parameters
    ----------
    nodes : Nodes
    policies : QueuePolicies
    **settings
        Fields of `EngineSettings`.
    """

    def __init__(
        self, nodes: Nodes, policies: QueuePolicies | None = None, **settings: Any
    ) -> None:
        self.nodes = nodes
        self.watch = Watching()
        self.engine = PullEngine(nodes, EngineSettings(**settings), self.watch)
        self._policies = policies or QueuePolicies()

    def __enter__(self) -> Driven:
        self.engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def fit(self, search: Any, X: Any, y: Any) -> Any:
        rounds = JournaledRounds(self.engine, MemoryJournal(), self._policies, self.watch)
        return fit_search(search, X, y, {}, rounds)


def data(seed: int = 0) -> tuple[Any, Any]:
    """Return a small classification problem."""
    return make_classification(n_samples=120, n_features=6, random_state=seed)


def tree_search(**options: Any) -> GridSearchCV:
    """Return a search of sixty fits of some hundredths of a second each."""
    grid = {"max_depth": [1, 2, 3, 4, 5, 6], "min_samples_leaf": [1, 5]}
    return GridSearchCV(Unhurried(random_state=0), grid, cv=5, **options)


def assert_as_scikit_learn(search: GridSearchCV, seed: int = 0) -> None:
    """Fail unless the search of `data(seed)` equals scikit-learn's own, bit for bit."""
    best, columns = _alone(seed)
    assert search.best_params_ == best
    for key, column in columns.items():
        assert np.array_equal(np.asarray(search.cv_results_[key]), column), key


@functools.cache
def _alone(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    search = tree_search().fit(*data(seed))
    results = {key: np.asarray(column) for key, column in search.cv_results_.items()}
    return search.best_params_, {
        key: column for key, column in results.items() if "time" not in key and key != "params"
    }


def once(action: Callable[[], None]) -> Callable[[], None]:
    """Return a callable that runs the action the first time only."""
    done = threading.Event()

    def call() -> None:
        if not done.is_set():
            done.set()
            action()

    return call
