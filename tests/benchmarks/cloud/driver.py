"""One run on AWS, as by ``skygrid run``, that records each node's states and times.

``python -m tests.benchmarks.cloud.driver NAME`` in a folder with ``search.py`` and ``skygrid.toml``
prints one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from skygrid.config import load_config
from skygrid.reports.live import show_progress
from skygrid.reports.progress import Progress
from skygrid.run.commands import prepare_run, run_prepared


class Diary(Progress):
    """The display of a run, which also records every change of a node's state."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self.states: list[tuple[str, str, float]] = []

    def node_changed(self, node: str, state: str) -> None:
        super().node_changed(node, state)
        self.states.append((node, state, time.time()))


def main(name: str) -> None:
    """Run ``search.py`` as run `name` and print the recorded states."""
    diary, search = Diary(), Path("search.py").absolute()
    config = load_config({"name": name}, os.environ, search_file=search, cwd=Path.cwd())
    with show_progress(diary, quiet=True, verbose=0):
        found = run_prepared(prepare_run(search, config, diary), diary)
    if found.trouble is not None:
        sys.exit(str(found.trouble))
    scores = sorted(set(found.search.cv_results_["mean_test_score"].tolist()))
    print(json.dumps({"states": diary.states, "scores": scores}))


if __name__ == "__main__":
    main(sys.argv[1])
