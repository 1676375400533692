"""Cost of the driver per fit: plan, queue, journal, assembly.

``python -m tests.benchmarks.driver_cost CANDIDATES`` prints one JSON line. The nodes are processes
that answer at once, so the processor time of this one is the driver's own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from skygrid.engine.engine import PullEngine
from skygrid.engine.settings import EngineSettings
from skygrid.journal.sqlite import SqliteJournal
from skygrid.listener import SilentListener
from skygrid.nodes.interface import Transport, Watcher
from skygrid.nodes.local_process import LocalProcess
from skygrid.queue.policies import QueuePolicies
from skygrid.run.rounds import JournaledRounds
from skygrid.sklearn_search.driven_search import fit_search


class EchoProvider:
    """One node whose agent answers at once."""

    shares_modules = True

    def names(self) -> Sequence[str]:
        return ["echo"]

    def set_modules(self, imported: Collection[str]) -> None: ...

    def transport(self, name: str, watcher: Watcher) -> Transport:
        return LocalProcess([sys.executable, "-m", "tests.benchmarks.echo_agent"])

    def close(self) -> None: ...

    def successor(self, name: str) -> str | None:
        return None


def main(candidates: int) -> None:
    """Run a grid of `candidates` x 5 fits and print the cost of each fit."""
    X, y = np.zeros((50, 2)), np.tile(np.arange(5), 10)
    search = GridSearchCV(
        GaussianNB(), {"var_smoothing": np.linspace(0.1, 1.0, candidates)}, cv=5, refit=False
    )
    engine = PullEngine(EchoProvider(), EngineSettings(), SilentListener())
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteJournal(Path(folder) / "journal.sqlite")
        # Sharing is off, so every fit has its own lease.
        rounds = JournaledRounds(engine, journal, QueuePolicies(), SilentListener(), sharing=False)
        begin, wall = time.process_time(), time.perf_counter()
        engine.start()
        fit_search(search, X, y, {}, rounds)
        seconds, wall = time.process_time() - begin, time.perf_counter() - wall
        assert journal.count() == candidates * 5
        engine.close()
        journal.close()
    fits = candidates * 5
    print(json.dumps({"fits": fits, "cpu_us": 1e6 * seconds / fits, "wall_us": 1e6 * wall / fits}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
