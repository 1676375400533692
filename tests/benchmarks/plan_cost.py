"""Cost of planning before the first fit: ``python -m tests.benchmarks.plan_cost CANDIDATES``.

Planning expands the candidates, draws the splits, records the round in the journal, encodes it and
fills the queue. Prints one JSON line: seconds, and peak memory that Python allocated beyond the
data.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from skygrid.engine.round import RoundBlobs
from skygrid.journal.in_memory import MemoryJournal
from skygrid.listener import SilentListener
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.queue.policies import QueuePolicies
from skygrid.queue.work_queue import WorkQueue
from skygrid.run.rounds import JournaledRounds
from skygrid.sklearn_search.driven_search import fit_search


class _Planned(Exception):
    """Raised in place of the first fit."""


class PlanningEngine:
    """An engine that stops before it waits for the first pull."""

    shares_modules = True
    greetings: dict[str, Any] = {}

    def run_round(
        self, plan: RoundPlan, blobs: RoundBlobs, queue: WorkQueue, record: Any
    ) -> Sequence[Outcome]:
        """Encode the plan, lease the first task and stop."""
        blobs.plan.digest  # noqa: B018  # computed at the first access
        assert queue.pull("node", 1, 0.0)
        raise _Planned


def plan(candidates: int) -> None:
    """Plan `candidates` x 5 tasks."""
    X, y = np.zeros((1000, 2)), np.tile(np.arange(5), 200)
    search = GridSearchCV(GaussianNB(), {"var_smoothing": np.linspace(0.1, 1.0, candidates)}, cv=5)
    engine: Any = PlanningEngine()
    rounds = JournaledRounds(engine, MemoryJournal(), QueuePolicies(), SilentListener())
    try:
        fit_search(search, X, y, {}, rounds)
    except _Planned:
        return


def main(candidates: int) -> None:
    """Measure time and memory in separate runs, because tracing slows a run down."""
    plan(10)
    begin = time.perf_counter()
    plan(candidates)
    seconds = time.perf_counter() - begin
    tracemalloc.start()
    plan(candidates)
    _, peak = tracemalloc.get_traced_memory()
    print(json.dumps({"tasks": candidates * 5, "seconds": seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
