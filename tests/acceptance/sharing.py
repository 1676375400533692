"""Separate and shared fits of the same candidates, and the comparison of all their results."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from threadpoolctl import threadpool_limits

from skygrid.plan.sharing import find_sharing
from skygrid.worker.evaluation.contents import RoundTasks, SearchData, SearchWork, Sharing
from skygrid.worker.evaluation.evaluator import Evaluator
from skygrid.worker.sharing import prefix_store as prefixes
from skygrid.worker.sharing.shared_fits import SharedFits
from skygrid.worker.wire.messages.results import FitResult
from tests.acceptance.sameness import differences

TIMES = {"fit_seconds", "score_seconds", "busy_seconds", "answered", "prefix_kept", "lease"}


@dataclass
class Shared:
    """A search whose candidates can be fitted separately or shared."""

    estimator: Any
    grid: Any
    X: Any
    y: Any
    scoring: Any = None
    train_scores: bool = False
    fit_params: Mapping[str, Any] = field(default_factory=dict)
    score_params: Mapping[str, Any] = field(default_factory=dict)
    error_score: Any = np.nan
    cv: Any = 2
    filters: Sequence[tuple[Any, ...]] = ()
    """Warning filters, as arguments of `warnings.filterwarnings`."""

    def __post_init__(self) -> None:
        self.candidates = list(ParameterGrid(self.grid))
        self.search = GridSearchCV(
            self.estimator,
            self.grid,
            scoring=self.scoring,
            error_score=self.error_score,
            cv=self.cv,
            return_train_score=self.train_scores,
            refit=False,
        )
        self.scorer = _scorer(self.search)
        splitter = check_cv(self.cv, self.y, classifier=is_classifier(self.estimator))
        self.splits = list(splitter.split(self.X, self.y))

    @property
    def sharing(self) -> Sharing:
        """Sharing groups and prefixes of the candidates."""
        return find_sharing(
            self.estimator, self.candidates, scorer=self.scorer, n_samples=self.X.shape[0]
        )

    @property
    def groups(self) -> list[set[int]]:
        """Members of each group."""
        return [set(group.members) for group in self.sharing.groups]

    def evaluator(self) -> Evaluator:
        """Return the evaluator that a slot would have."""
        data = SearchData(
            X=self.X,
            y=self.y,
            fit_params=dict(self.fit_params),
            score_params=dict(self.score_params),
        )
        work = SearchWork(
            estimator=self.estimator,
            scorer=self.scorer,
            return_train_score=self.train_scores,
            error_score=self.error_score,
            verbose=0,
        )
        tasks = RoundTasks(candidates=self.candidates, splits=self.splits)
        return Evaluator(data, work, tasks)

    def apart(self) -> list[FitResult]:
        """Fit every candidate on every split separately."""
        evaluator = self.evaluator()
        with _noting(evaluator, self.filters):
            return [
                evaluator.evaluate(0, 0, candidate, split)
                for split in range(len(self.splits))
                for candidate in range(len(self.candidates))
            ]

    def together(self, folder: Any = None) -> list[FitResult]:
        """Return the same results in the same order from shared fits."""
        groups = self.sharing.groups
        grouped = {member for group in groups for member in group.members}
        units = [group.members for group in groups]
        units += [(index,) for index in range(len(self.candidates)) if index not in grouped]
        return [
            result
            for split in range(len(self.splits))
            for result in sorted(
                self.evaluated(units, split, folder), key=lambda result: result.candidate
            )
        ]

    def evaluated(
        self, units: Sequence[Sequence[int]], split: int, folder: Any = None
    ) -> list[FitResult]:
        """Return the results of a slot that evaluates these leases in order."""
        sharing = self.sharing
        evaluator = self.evaluator()
        fits = SharedFits(evaluator, sharing, str(folder) if folder is not None else None)
        with _noting(evaluator, self.filters):
            return [result for unit in units for result in fits.evaluate(0, 0, unit, split)]


def _scorer(search: GridSearchCV) -> Any:
    if hasattr(search, "_get_scorers"):
        found = search._get_scorers()
        return found[0] if isinstance(found, tuple) else found
    return check_scoring(search.estimator, search.scoring)  # before scikit-learn 1.5


@contextlib.contextmanager
def _noting(evaluator: Evaluator, filters: Sequence[tuple[Any, ...]]) -> Iterator[None]:
    """Record warnings and limit threads, as in a slot."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("always")
        # As is Python's default: files that earlier tests left open are found at any time.
        warnings.simplefilter("ignore", ResourceWarning)
        for arguments in filters:
            warnings.filterwarnings(*arguments)
        warnings.showwarning = evaluator._note_warning
        yield


def different(ours: Sequence[FitResult], theirs: Sequence[FitResult]) -> list[str]:
    """Return fields in which results differ, except times and sources."""
    found = [] if len(ours) == len(theirs) else [f"{len(ours)} results are not {len(theirs)}"]
    for one, other in zip(ours, theirs, strict=False):
        for name in one.__struct_fields__:
            if name not in TIMES:
                path = f"candidate {other.candidate} {name}"
                found += differences(getattr(one, name), getattr(other, name), path)
    return found


def assert_same(shared: Shared, folder: Any = None, *, answered: int | None = None) -> None:
    """Check that shared fits give the results of separate fits.

    Parameters
    ----------
    shared : Shared
    folder : path, optional
        Folder of kept prefixes.
    answered : int, optional
        Number of results per split that must come from another candidate's fit.
    """
    ours = shared.together(folder)
    assert different(ours, shared.apart()) == []
    if answered is not None:
        assert sum(result.answered for result in ours) == answered * len(shared.splits)


class StateScorer:
    """A scorer that records the public state of every estimator."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        self.seen.append(public_state(estimator))
        return float(len(self.seen) * 0)


def public_state(estimator: Any) -> dict[str, Any]:
    """Return public parameters and fitted attributes by path, without states of generators."""
    found: dict[str, Any] = {}
    steps = getattr(estimator, "steps", None)
    if steps is not None:
        for name, step in steps:
            inner = public_state(step) if hasattr(step, "get_params") else {"": step}
            found |= {f"{name}.{key}": value for key, value in inner.items()}
        return found
    for name, value in vars(estimator).items():
        if not name.startswith("_"):
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.random.RandomState):
        return "a random state"
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return [_plain(item) for item in value.ravel().tolist()]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return public_state(value)
    return value


def keep_everything(monkeypatch: Any) -> None:
    """Keep prefixes regardless of their fit time."""
    monkeypatch.setattr(prefixes, "WORTH_SECONDS", 0.0)
