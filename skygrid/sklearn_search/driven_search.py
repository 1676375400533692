"""Fits a scikit-learn search object with outcomes that were computed elsewhere.

``search.fit`` runs unchanged down to the body of `BaseSearchCV.fit`, with scikit-learn's parameter
validation and the additions of subclasses (halving's bookkeeping, for example). In place of the
body, `_Driver.fit` drives the search's ``_run_search`` with an ``evaluate_candidates`` that gets
each round's outcomes from skygrid. Scikit-learn's joblib loop never runs; its formatting, ranking
and selection do.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

import joblib
import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import indexable

from skygrid.errors import FitKilledError, UsageError
from skygrid.plan.records import Outcome, RoundPlan, ScoreForm
from skygrid.sklearn_search import sklearn_private
from skygrid.sklearn_search.progress_output import progress_on_stderr
from skygrid.sklearn_search.sklearn_private import (
    BODY_OF_FIT,
    CHECKS_CV_ITSELF,
    HAS_CALLBACKS,
    is_metric_scorer,
    named_scorers,
)
from skygrid.util.terminal import in_summary
from skygrid.worker.evaluation.contents import SearchData, SearchWork
from skygrid.worker.wire.scores import as_float, from_wire


class RoundEvaluator(Protocol):
    """Source of a search's outcomes."""

    def begin(self, data: SearchData, work: SearchWork) -> None:
        """Prepare for rounds with this work. Called again when the work changes between rounds."""

    def refitting(self, results: Mapping[str, Any], *, last: bool) -> None:
        """Prepare for the refit. Called after the last round if there is a refit.

        Parameters
        ----------
        results : mapping of str to array
            ``cv_results_``.
        last : bool
            No further round can follow. False for a search whose ``fit`` may search again.
        """

    def evaluate(self, plan: RoundPlan) -> tuple[RoundPlan, Sequence[Outcome]]:
        """Run every task of the round.

        Returns
        -------
        plan : RoundPlan
            The plan that was evaluated: the given one, or the one that an earlier session drew.
        outcomes : sequence of Outcome
            Of length candidates x splits, candidates first, as scikit-learn orders them.
        """


OutcomeSource = Callable[[Any, Any, Mapping[str, Any]], AbstractContextManager[RoundEvaluator]]
"""Makes the evaluator of one ``fit``, from its X, y and keyword arguments."""

Chooser = Callable[[Any], OutcomeSource | None]
"""Decides for a search whether its outcomes come from elsewhere, see `take_over`."""


def fit_search(
    search: Any, X: Any, y: Any, fit_params: Mapping[str, Any], evaluator: RoundEvaluator
) -> Any:
    """Fit a search in place, as ``search.fit(X, y, **fit_params)`` would.

    Parameters
    ----------
    search : BaseSearchCV
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
    fit_params : mapping
        Keyword arguments of ``fit``.

    Returns
    -------
    search : BaseSearchCV
        The same object, fitted, its class unchanged.

    Raises
    ------
    UsageError
        If the search carries callbacks, or its class bypasses `BaseSearchCV.fit`.
    Exception
        Any exception that scikit-learn would raise.
    """
    refuse_callbacks(search)
    driver = _Driver(search, evaluator)
    with driver.in_place_of_scikit_learn():
        search.fit(X, y, **fit_params)
    if not driver.has_fitted:
        raise UsageError(
            f"{type(search).__name__}.fit does not call super().fit(), so skygrid cannot take its "
            "fits over: call super().fit() there, or fit it with scikit-learn itself"
        )
    return search


def refuse_callbacks(search: Any) -> None:
    """Refuse scikit-learn 1.9's fit callbacks before anything runs.

    A callback must be called in the fitting process and may share state between fits.

    Raises
    ------
    UsageError
        If the search, or an estimator anywhere in its parameters, carries a callback.
    """
    if not HAS_CALLBACKS:
        return
    found = [
        f"{type(callback).__name__} on {type(owner).__name__}"
        for owner in estimators_within(search)
        for callback in sklearn_private.callbacks_of(owner)
    ]
    if found:
        raise UsageError(
            f"fit callbacks cannot run on nodes: {', '.join(found)}. "
            "Remove them (set_callbacks() without arguments); skygrid shows progress by itself"
        )


def estimators_within(value: Any) -> Iterable[Any]:
    """Yield the estimators in a value: itself, and those in its parameters and containers."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from estimators_within(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from estimators_within(item)
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        for item in value.flat:
            yield from estimators_within(item)
    elif hasattr(value, "get_params") and not isinstance(value, type):
        yield value
        yield from estimators_within(value.get_params(deep=False))


_drivers: list[_Driver] = []
"""Drivers of the searches being fitted, the newest last. The searches themselves get no attribute,
because they may be compared, copied or pickled at any moment.
"""

_choosers: list[Chooser] = []
"""Functions of `take_over`, the newest last."""

_drivers_lock = threading.Lock()
"""Guards `_drivers`, `_choosers` and the body of `fit`, which is `_fit` while either has items."""


@functools.wraps(BODY_OF_FIT)
def _fit(self: Any, X: Any, y: Any = None, **params: Any) -> Any:
    drivers = reversed(_drivers.copy())
    driver = next((driver for driver in drivers if driver.search is self), None)
    if driver is not None:
        return driver.fit(X, y, **params)
    # Another search: inside the driven one, of another thread, or in a block of `take_over`.
    for choose in reversed(_choosers.copy()):
        source = choose(self)
        if source is not None:
            with source(X, y, params) as evaluator:
                return _Driver(self, evaluator).fit(X, y, **params)
    return BODY_OF_FIT(self, X, y, **params)


@contextlib.contextmanager
def take_over(choose: Chooser) -> Iterator[None]:
    """Fit searches of the block, in all threads, with outcomes that were computed elsewhere.

    Parameters
    ----------
    choose : callable
        Called with each search whose ``fit`` reaches `BaseSearchCV.fit`. Returns the source of its
        outcomes, or None if scikit-learn is to fit it.
    """
    _install(_choosers, choose)
    try:
        yield
    finally:
        _remove(_choosers, choose)


def _install(items: list[Any], item: Any) -> None:
    with _drivers_lock:
        items.append(item)
        sklearn_private.fit_with(_fit)


def _remove(items: list[Any], item: Any) -> None:
    with _drivers_lock:
        items.remove(item)
        if not _drivers and not _choosers:
            sklearn_private.fit_with(BODY_OF_FIT)


class _Driver:
    """Fits one search in place of `BaseSearchCV.fit`."""

    def __init__(self, search: Any, evaluator: RoundEvaluator) -> None:
        self.search, self.evaluator = search, evaluator
        self.has_fitted = False
        """True once the search's ``fit`` has called `BaseSearchCV.fit`."""

        self.rounds = 0
        """Rounds so far, of all fits: a subclass may call `BaseSearchCV.fit` several times."""

    @contextlib.contextmanager
    def in_place_of_scikit_learn(self) -> Iterator[None]:
        """Have `BaseSearchCV.fit` call `fit` for this search, in all threads."""
        _install(_drivers, self)
        try:
            yield
        finally:
            _remove(_drivers, self)

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Do the steps of `BaseSearchCV.fit`, in the same order, with the evaluator's outcomes."""
        self.has_fitted = True
        search = self.search
        scorers, refit_metric = sklearn_private.scorers_of(search)
        X, y = indexable(X, y)
        routed = sklearn_private.routed_params(search, X, params)
        context = sklearn_private.begin_callbacks(search, X, y)
        splitter = self._checked_splitter(X, y, routed)
        n_splits = splitter.get_n_splits(X, y, **routed.splitter.split)
        if CHECKS_CV_ITSELF:
            search.n_splits_ = n_splits  # halving's _run_search reads it
        estimator = clone(search.estimator)
        joblib.effective_n_jobs(search.n_jobs)  # raises where joblib.Parallel would
        data = SearchData(
            X=X, y=y, fit_params=routed.estimator.fit, score_params=routed.scorer.score
        )
        work = SearchWork(
            estimator=estimator,
            scorer=scorers,
            return_train_score=search.return_train_score,
            error_score=search.error_score,
            verbose=search.verbose,
            n_jobs=search.n_jobs,
            column_of_one_score=_column_of_one_score(search),
        )
        rounds = _Rounds(self, search, data, work, splitter, routed.splitter.split, n_splits)
        with progress_on_stderr(search.verbose):
            sklearn_private.run_search(search, rounds.evaluate_candidates, context)
        search.multimetric_ = rounds.multimetric
        if callable(search.scoring) and search.multimetric_:
            sklearn_private.check_refit(search, rounds.first_test_scores)
            refit_metric = search.refit
        self._choose_best(rounds.results, refit_metric)
        if search.refit:
            self.evaluator.refitting(rounds.results, last=sklearn_private.fits_once(type(search)))
            self._refit_best(estimator, X, y, routed)
        named = named_scorers(scorers)
        search.scorer_ = scorers if named is None else named
        search.cv_results_ = rounds.results
        search.n_splits_ = n_splits
        return search

    def _checked_splitter(self, X: Any, y: Any, routed: Any) -> Any:
        search = self.search
        splitter = check_cv(search.cv, y, classifier=is_classifier(search.estimator))
        sklearn_private.keep_splitter(search, splitter, X, y, routed.splitter.split)
        return splitter

    def _choose_best(self, results: Mapping[str, Any], refit_metric: str) -> None:
        search = self.search
        if not search.refit and search.multimetric_:
            return
        search.best_index_ = sklearn_private.best_index(search, refit_metric, results)
        if not callable(search.refit):
            search.best_score_ = results[f"mean_test_{refit_metric}"][search.best_index_]
        search.best_params_ = results["params"][search.best_index_]

    def _refit_best(self, estimator: Any, X: Any, y: Any, routed: Any) -> None:
        search = self.search
        # Parameters are cloned too: they may be estimators (scikit-learn pull request 26786).
        search.best_estimator_ = clone(estimator).set_params(
            **clone(search.best_params_, safe=False)
        )
        begin = time.time()
        if y is not None:
            search.best_estimator_.fit(X, y, **routed.estimator.fit)
        else:
            search.best_estimator_.fit(X, **routed.estimator.fit)
        search.refit_time_ = time.time() - begin
        if hasattr(search.best_estimator_, "feature_names_in_"):
            search.feature_names_in_ = search.best_estimator_.feature_names_in_


def _column_of_one_score(search: Any) -> str | None:
    return sklearn_private.column_of_one_score(search) if search.scoring is None else None


def _score_form(search: Any, scorer: Any) -> ScoreForm:
    named = named_scorers(scorer)
    one = is_metric_scorer(scorer) or _column_of_one_score(search) is not None
    return ScoreForm(
        metrics=None if named is None else frozenset(named),
        open=named is None and not one,
        train=bool(search.return_train_score),
    )


class _Rounds:
    """The rounds of one search so far, and their results."""

    def __init__(
        self,
        driver: _Driver,
        search: Any,
        data: SearchData,
        work: SearchWork,
        splitter: Any,
        split_params: Mapping[str, Any],
        n_splits: int,
    ) -> None:
        self.results: dict[str, Any] = {}
        self._driver, self._search = driver, search
        self._data, self._work = data, work
        self._splitter, self._split_params, self._n_splits = splitter, split_params, n_splits
        self._begun = False
        self._candidates: list[Mapping[str, Any]] = []
        self._out: list[dict[str, Any]] = []
        self._more: dict[str, list[Any]] = defaultdict(list)

    def _begin(self, *, callback_context: bool) -> None:
        """Pass the work to the evaluator, unless it has it already."""
        if self._begun and self._work.callback_context == callback_context:
            return
        self._begun = True
        self._work = replace(self._work, callback_context=callback_context)
        self._driver.evaluator.begin(self._data, self._work)

    @property
    def first_test_scores(self) -> Any:
        """Test scores of the first fit."""
        return self._out[0]["test_scores"]

    @property
    def multimetric(self) -> bool:
        """True if scores are dicts; with a callable scorer only the scores can tell."""
        return isinstance(self.first_test_scores, dict)

    def evaluate_candidates(
        self,
        candidate_params: Iterable[Mapping[str, Any]],
        cv: Any = None,
        more_results: Mapping[str, Sequence[Any]] | None = None,
        callback_ctx: Any = None,
    ) -> dict[str, Any]:
        """Evaluate candidates and return the results so far, as `_run_search` expects."""
        search = self._search
        candidates = list(candidate_params)
        asked = RoundPlan(
            round=self._driver.rounds,
            candidates=candidates,
            splits=self._splits(cv or self._splitter, len(candidates)),
            scores=_score_form(search, self._work.scorer),
        )
        self._driver.rounds += 1
        self._say(asked)
        self._begin(callback_context=callback_ctx is not None)
        plan, outcomes = self._driver.evaluator.evaluate(asked)
        out = [self._as_sklearn(outcome) for outcome in outcomes]
        if not out:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no candidates?"
            )
        with in_summary():
            sklearn_private.report_failures(out, search.error_score)
        if callable(search.scoring):
            sklearn_private.insert_error_scores(out, search.error_score)
        self._candidates.extend(plan.candidates)
        self._out.extend(out)
        for key, values in (more_results or {}).items():
            self._more[key].extend(values)
        self.results = sklearn_private.format_results(
            search, self._candidates, self._n_splits, self._out, self._more
        )
        return self.results

    def _splits(self, splitter: Any, n_candidates: int) -> list[tuple[Any, Any]]:
        splits = list(splitter.split(self._data.X, self._data.y, **self._split_params))
        # Before 1.9 scikit-learn first notices that there is nothing to fit.
        if len(splits) != self._n_splits and (CHECKS_CV_ITSELF or (splits and n_candidates)):
            raise ValueError(
                f"cv.split and cv.get_n_splits {'return' if CHECKS_CV_ITSELF else 'returned'} "
                f"inconsistent results. Expected {self._n_splits} splits, got {len(splits)}"
            )
        return splits

    def _say(self, plan: RoundPlan) -> None:
        if self._search.verbose > 0:
            print(  # noqa: T201 (scikit-learn's own message, where it prints its others)
                f"Fitting {len(plan.splits)} folds for each of {len(plan.candidates)} candidates,"
                f" totalling {plan.n_tasks} fits"
            )

    def _as_sklearn(self, outcome: Outcome) -> dict[str, Any]:
        """Return an outcome as ``_fit_and_score`` would have returned it."""
        if outcome.status == "killed" and self._work.error_score == "raise":
            raise FitKilledError(
                f"{(outcome.fit_error or '').strip()} "
                f"(parameters: {self._describe(outcome)}; error_score is 'raise')"
            )
        scored = outcome.status == "scored"
        out = {
            "fit_error": outcome.fit_error,
            "test_scores": self._scores(outcome.test_scores) if scored else self._error_scores(),
            "n_test_samples": outcome.n_test_samples,
            "fit_time": outcome.fit_seconds,
            "score_time": outcome.score_seconds,
        }
        if self._work.return_train_score:
            out["train_scores"] = (
                self._scores(outcome.train_scores) if scored else self._error_scores()
            )
        return out

    def _scores(self, scores: Any) -> Any:
        if type(scores) is float:
            return scores
        read = from_wire(scores)
        if isinstance(read, dict):
            return {name: as_float(score) for name, score in read.items()}
        return as_float(read)

    def _error_scores(self) -> Any:
        named = named_scorers(self._work.scorer)
        score = self._work.error_score
        return score if named is None else dict.fromkeys(named, score)

    def _describe(self, outcome: Outcome) -> str:
        return f"candidate {outcome.candidate}, split {outcome.split} of round {outcome.round}"
