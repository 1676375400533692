"""An outcome is on disk before it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skygrid.engine.engine import PullEngine
from skygrid.engine.settings import EngineSettings
from skygrid.journal.sqlite import SqliteJournal
from skygrid.listener import SilentListener
from skygrid.nodes.local import LocalProvider
from skygrid.plan.records import Outcome
from skygrid.queue.policies import QueuePolicies
from skygrid.run.rounds import JournaledRounds
from skygrid.sklearn_search.driven_search import fit_search


class Doubter(SilentListener):
    """Listener that reads each outcome from the file, as another process would."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.told = 0
        self.missing: list[Outcome] = []

    def outcomes_recorded(self, outcomes: Sequence[Outcome]) -> None:
        self.told += len(outcomes)
        reader = SqliteJournal(self._path, read_only=True)
        kept = {(o.candidate, o.split): o for o in reader.outcomes(0)}
        reader.close()
        self.missing += [o for o in outcomes if kept.get((o.candidate, o.split)) != o]


def test_an_outcome_is_in_the_journal_when_the_listener_is_called(tmp_path: Path) -> None:
    """Every outcome that a listener gets is in the journal at that time."""
    path = tmp_path / "journal.sqlite"
    doubter = Doubter(path)
    engine = PullEngine(LocalProvider(1, 2), EngineSettings(), doubter)
    journal = SqliteJournal(path)
    engine.start()
    try:
        rounds = JournaledRounds(engine, journal, QueuePolicies(), doubter)
        grid = {"max_depth": list(range(1, 20)), "min_samples_leaf": [1, 2, 3]}
        search = GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=5)
        fit_search(search, *load_iris(return_X_y=True), {}, rounds)
    finally:
        engine.close()
        journal.close()
    assert doubter.told == 285
    assert not doubter.missing
