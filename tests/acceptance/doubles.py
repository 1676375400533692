"""Doubles of estimators, scorers, splitters and searches: they misbehave or record facts.

They are pickled by value on their way to the slots, as nodes do not have this module.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.model_selection._search import BaseSearchCV


class Refusal(Exception):
    """An exception whose constructor takes more than a text."""

    def __init__(self, level: int, reason: str) -> None:
        super().__init__(f"level {level} is refused: {reason}")


class Whisper(UserWarning):
    """A warning class of the user."""


class Murmur(UserWarning):
    """A warning that cannot be rebuilt from its text."""

    def __init__(self, level: int, *, volume: int) -> None:
        super().__init__(f"level {level}, volume {volume}")


class ThresholdClassifier(ClassifierMixin, BaseEstimator):
    """Predicts by a threshold on the first feature that depends on `level`; base of the doubles."""

    def __init__(self, level: Any = 1) -> None:
        self.level = level

    def fit(self, X: Any, y: Any) -> ThresholdClassifier:
        self.classes_ = np.unique(y)
        self.cut_ = float(np.quantile(np.asarray(X)[:, 0], 1 / (1 + abs(self.level))))
        return self

    def predict(self, X: Any) -> Any:
        above = np.asarray(X)[:, 0] > self.cut_
        return self.classes_[np.where(above, len(self.classes_) - 1, 0)]


class SeveralScoresClassifier(ThresholdClassifier):
    """Returns several scores from `score`."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return {"share": float((self.predict(X) == y).mean()), "cut": self.cut_}


class FailingClassifier(ThresholdClassifier):
    """Raises `error` at the levels in `fails_at`."""

    def __init__(self, level: int = 1, fails_at: tuple[int, ...] = (2,), error: str = "value"):
        super().__init__(level)
        self.fails_at = fails_at
        self.error = error

    def fit(self, X: Any, y: Any) -> Any:
        if self.level in self.fails_at:
            self._fail()
        return super().fit(X, y)

    def _fail(self) -> None:
        if self.error == "value":
            raise ValueError(f"level {self.level} cannot be fitted")
        if self.error == "key":
            raise KeyError(f"level {self.level}")
        if self.error == "own":
            raise Refusal(self.level, "it is too high")
        raise AssertionError


class SplitFailingClassifier(ThresholdClassifier):
    """Fails if a sample is in the training set, with a text that differs between splits."""

    def fit(self, X: Any, y: Any) -> Any:
        if self.level == 2 and 5.1 in X[:, 0]:
            raise ValueError(f"level 2 meets a first feature of mean {X[:, 0].mean()!r}")
        if self.level == 3:
            raise OSError("level 3 fails everywhere")
        return super().fit(X, y)


class UnscorableClassifier(ThresholdClassifier):
    """Fits at every level, but fails to predict at level 2."""

    def predict(self, X: Any) -> Any:
        if self.level == 2:
            raise RuntimeError("level 2 does not predict")
        return super().predict(X)


class ReprClassifier(ThresholdClassifier):
    """Predicts by the repr of its parameter, so that 1, 1.0 and True score differently."""

    def fit(self, X: Any, y: Any) -> Any:
        self.classes_ = np.unique(y)
        written = getattr(self.level, "__name__", None) or repr(self.level)
        self.cut_ = float(np.quantile(np.asarray(X)[:, 0], (len(written) % 23) / 23))
        return self


class LayoutClassifier(ThresholdClassifier):
    """Depends on everything about X that a copy could lose, and refuses a read-only X."""

    def fit(self, X: Any, y: Any) -> Any:
        super().fit(X, y)
        # The last bits of a sum depend on the memory order.
        self.cut_ += float(X.sum()) * 1e-3 + float((X @ X.T).sum()) * 1e-9
        self.traits_ = (type(X), X.dtype.str, X.flags.c_contiguous, X.flags.f_contiguous)
        if not X.flags.writeable:
            raise ValueError("X is read-only")
        return self


class ResizingClassifier(ThresholdClassifier):
    """Resizes X, which only an array that owns its memory allows."""

    def fit(self, X: Any, y: Any) -> Any:
        X.resize((len(X) + 1, X.shape[1]), refcheck=False)
        return super().fit(X[:-1], y)


class MemoryClassifier(ThresholdClassifier):
    """Scores the memory of its process in MB, without files that are mapped.

    Source: proc(5), ``/proc/PID/statm``: second and third field, in pages.
    """

    def fit(self, X: Any, y: Any) -> Any:
        X.sum()  # reads all pages
        with open("/proc/self/statm") as line:
            _, resident, shared, *_ = line.read().split()
        self.held_ = (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 1e6
        return super().fit(X, y)

    def score(self, X: Any, y: Any) -> float:
        return float(self.held_)


class SampleFilesClassifier(ThresholdClassifier):
    """Scores the MB of all sample files in the folder of the mapped one; 0 without any.

    Source: proc(5), ``/proc/PID/maps``: the sixth field is the path of a mapped file.
    """

    def fit(self, X: Any, y: Any) -> Any:
        with open("/proc/self/maps") as lines:
            mapped = [line.split(maxsplit=5)[-1].strip() for line in lines if "-samples-" in line]
        entries = os.scandir(os.path.dirname(mapped[0])) if mapped else ()
        samples = [entry for entry in entries if "-samples-" in entry.name]
        self.held_ = sum(entry.stat().st_size for entry in samples) / 1e6
        return super().fit(X, y)

    def score(self, X: Any, y: Any) -> float:
        return float(self.held_)


class InPlaceTransformer(TransformerMixin, BaseEstimator):
    """Writes into its X."""

    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor

    def fit(self, X: Any, y: Any = None) -> InPlaceTransformer:
        X *= self.factor
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X: Any) -> Any:
        X -= self.mean_
        return X


class JobsClassifier(ThresholdClassifier):
    """Scores joblib's `effective_n_jobs` in a fit, plus ten times the one in a batch of the fit."""

    def fit(self, X: Any, y: Any) -> Any:
        (within,) = Parallel(n_jobs=2)([delayed(effective_n_jobs)(3)])
        self.jobs_ = 10 * within + effective_n_jobs(3)
        return super().fit(X, y)

    def score(self, X: Any, y: Any) -> float:
        return float(self.jobs_)


class ChattyClassifier(ThresholdClassifier):
    """Issues warnings of every kind and prints."""

    def fit(self, X: Any, y: Any) -> Any:
        print("fitting", self.level)
        warnings.warn(f"level {self.level}", Whisper, stacklevel=1)
        warnings.warn("the same every time", UserWarning, stacklevel=2)
        for _ in range(20):
            warnings.warn("slowly", ConvergenceWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return super().fit(X, y)

    def predict(self, X: Any) -> Any:
        warnings.warn(f"predicting at {self.level}", RuntimeWarning, stacklevel=1)
        return super().predict(X)


class MurmuringClassifier(ThresholdClassifier):
    """Issues a warning object whose constructor takes more than a text."""

    def fit(self, X: Any, y: Any) -> Any:
        warnings.warn(Murmur(self.level, volume=3), stacklevel=1)
        return super().fit(X, y)


class StubbornClassifier(ThresholdClassifier):
    """Sets its own warning filter."""

    def fit(self, X: Any, y: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("said whatever the filters", Whisper, stacklevel=1)
        return super().fit(X, y)


class WeightedClassifier(ThresholdClassifier):
    """Takes one fit parameter per sample and one that is not per sample."""

    def fit(self, X: Any, y: Any, offsets: Any = None, label: str = "") -> Any:
        super().fit(X, y)
        self.cut_ += float(np.mean(offsets)) + len(label) * 0.01
        return self


def own_score(estimator: Any, X: Any, y: Any) -> float:
    return accuracy_score(y, estimator.predict(X)) / math.sqrt(3)


def score_of_fitted(estimator: Any, X: Any, y: Any = None) -> float:
    return float(np.abs(estimator.coef_).sum())


def two_scores(estimator: Any, X: Any, y: Any) -> dict[str, Any]:
    share = accuracy_score(y, estimator.predict(X))
    return {"share": share, "odds": np.float32(share / (1.0000001 - share))}


def narrow_score(estimator: Any, X: Any, y: Any) -> Any:
    return np.float32(own_score(estimator, X, y))


def integer_score(estimator: Any, X: Any, y: Any) -> Any:
    return np.int64((estimator.predict(X) == y).sum())


def true_or_false(estimator: Any, X: Any, y: Any) -> Any:
    return bool((estimator.predict(X) == y).mean() > 0.5)


def exact_score(estimator: Any, X: Any, y: Any) -> Any:
    return Fraction(int((estimator.predict(X) == y).sum()), len(y))


def decimal_score(estimator: Any, X: Any, y: Any) -> Any:
    return Decimal(int((estimator.predict(X) == y).sum())) / len(y)


def first_of_two_scores(results: Any) -> int:
    return int(np.argmin(results["rank_test_share"]))


def complex_score(estimator: Any, X: Any, y: Any) -> Any:
    return complex(int((estimator.predict(X) == y).sum()), estimator.level)


def signalling_score(estimator: Any, X: Any, y: Any) -> Any:
    return Decimal("sNaN") if estimator.level == 2 else Decimal("0.5")


def endless_score(estimator: Any, X: Any, y: Any) -> float:
    return {1: math.inf, 2: -math.inf, 3: math.nan}.get(estimator.level, 0.5)


def text_score(estimator: Any, X: Any, y: Any) -> Any:
    return "good"


def score_that_breaks(estimator: Any, X: Any, y: Any) -> float:
    if estimator.level == 2:
        raise LookupError("no score at level 2")
    return own_score(estimator, X, y)


def scores_that_break(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    share = score_that_breaks(estimator, X, y)
    return {"share": share, "half": share / 2}


def second_candidate(results: Any) -> int:
    """Return 1; a refit function."""
    return 1


def no_candidate(results: Any) -> int:
    """Return an index that does not exist; a refit function."""
    return 10_000


class MiscountingSplitter:
    """Promises three splits and yields two."""

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return 3

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        half = len(X) // 2
        yield np.arange(half), np.arange(half, len(X))
        yield np.arange(half, len(X)), np.arange(half)


class TwoRounds(BaseSearchCV):
    """Evaluates its values, then two levels above the best of them."""

    def __init__(
        self,
        estimator: Any,
        values: Any,
        *,
        cv: Any = None,
        scoring: Any = None,
        refit: Any = True,
        error_score: Any = np.nan,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            estimator,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            verbose=verbose,
            return_train_score=True,
        )
        self.values = values

    def _run_search(self, evaluate_candidates: Any) -> None:
        self._go(evaluate_candidates)

    def _go(self, evaluate_candidates: Any, context: Callable[[], Any] = dict) -> None:
        candidates = [{"level": value} for value in self.values]
        stages = {"stage": [1.5] * len(candidates)}
        results = evaluate_candidates(candidates, more_results=stages, **context())
        best = self.values[int(np.argmin(results["rank_test_score"]))]
        beside = [{"level": best + 4}, {"level": best + 5}]
        evaluate_candidates(iter(beside), more_results={"stage": [2.5] * 2}, **context())


class TwoRoundsInContext(TwoRounds):
    """Passes on the context of fit callbacks, as scikit-learn 1.9 requires."""

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        if callback_ctx is None:  # before 1.9
            self._go(evaluate_candidates)
            return
        search = callback_ctx.subcontext(task_name="search", max_subtasks=None)

        def context() -> dict[str, Any]:
            options = {"max_subtasks": None, "sequential_subtasks": False}
            return {"callback_ctx": search.subcontext(task_name="round", **options)}

        self._go(evaluate_candidates, context)


class TwoRoundsOutOfContext(TwoRounds):
    """Takes the context of fit callbacks and does not pass it on."""

    def _run_search(self, evaluate_candidates: Any, callback_ctx: Any = None) -> None:
        self._go(evaluate_candidates)


class CopiedInTheMiddle(TwoRounds):
    """Copies itself before each round, as scikit-learn does to route metadata."""

    def _go(self, evaluate_candidates: Any, context: Callable[[], Any] = dict) -> None:
        copied = copy.deepcopy(self)
        super()._go(evaluate_candidates, context)
        assert type(copied) is type(self)


class NothingToDo(TwoRounds):
    """Evaluates no candidate."""

    def _run_search(self, evaluate_candidates: Any) -> None:
        evaluate_candidates([])


class DoublingSearch(GridSearchCV):
    """Overrides fit and calls the base class through super()."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        super().fit(np.asarray(X) * 2, y, **params)
        self.doubled_ = True
        return self


class SearchByName(GridSearchCV):
    """Overrides fit and calls `GridSearchCV.fit` by name."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        return GridSearchCV.fit(self, X, y, **params)


class SelfMadeSearch(GridSearchCV):
    """Overrides fit and never calls the base class."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        self.best_estimator_ = clone(self.estimator).fit(X, y)
        return self
