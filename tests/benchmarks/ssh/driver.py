"""One run over SSH, as by ``skygrid run``, with a stopwatch in its listener.

``python -m tests.benchmarks.ssh.driver NAME`` in a folder with ``search.py`` and ``skygrid.toml``
prints one JSON line. With ``PROFILE=FILE`` in the environment the thread of the engine is profiled.
"""

from __future__ import annotations

import cProfile
import json
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from skygrid.config import load_config
from skygrid.plan.records import Outcome
from skygrid.reports.live import show_progress
from skygrid.reports.progress import Progress
from skygrid.run.commands import run_search


class Stopwatch(Progress):
    """The display of a run, which records when nodes start to work and outcomes are on disk."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self.working = self.last = 0.0
        self.cpu_working = self.cpu_last = 0.0
        self.threads_working: dict[str, float] = {}
        self.threads_last: dict[str, float] = {}
        self.fits = 0
        self._next_look = 0.0

    def node_changed(self, node: str, state: str) -> None:
        super().node_changed(node, state)
        if state == "working" and not self.working:
            self.working, self.cpu_working = time.time(), time.process_time()
            self.threads_working = thread_seconds()

    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None:
        super().outcomes_recorded(outcomes)
        self.fits += len(outcomes)
        self.last, self.cpu_last = time.time(), time.process_time()
        if self.last > self._next_look:
            self._next_look = self.last + 1.0
            self.threads_last = thread_seconds()


def thread_seconds() -> dict[str, float]:
    """Return processor time by kind of thread; names of nodes and numbers are ignored."""
    seconds: dict[str, float] = {}
    for thread in threading.enumerate():
        kind = re.sub(r"^n[^-]*-|-?\d+ ?", "", thread.name)
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        seconds[kind] = seconds.get(kind, 0.0) + time.clock_gettime(clock)
    return seconds


def main(name: str) -> None:
    """Run ``search.py`` as run `name` and print the times."""
    watch, search = Stopwatch(), Path("search.py").absolute()
    config = load_config({"name": name}, os.environ, search_file=search, cwd=Path.cwd())
    profile = cProfile.Profile() if "PROFILE" in os.environ else None
    with show_progress(watch, quiet=False, verbose=0):
        if profile is None:
            found = run_search(search, config, watch)
        else:
            found = profile.runcall(run_search, search, config, watch)
            profile.dump_stats(os.environ["PROFILE"])
    said = {
        "fits": watch.fits,
        "first_working": watch.working,
        "last_recorded": watch.last,
        "cpu_seconds": watch.cpu_last - watch.cpu_working,
        "thread_seconds": {
            kind: seconds - watch.threads_working.get(kind, 0.0)
            for kind, seconds in watch.threads_last.items()
        },
        "scores": sorted(set(found.search.cv_results_["mean_test_score"].tolist())),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
