"""A search object of scikit-learn's own, fitted with outcomes that were computed elsewhere.

``search.fit`` runs as it is, down to `BaseSearchCV.fit`: what subclasses add before and after
it, halving's bookkeeping for one, stays in force. In its place comes `_DrivenFit.fit`, which
drives the search's own ``_run_search`` with an ``evaluate_candidates`` that asks skygrid for each
round of outcomes. Scikit-learn's joblib loop, its per-task cloning and pickling, never runs; its
formatting, ranking and choosing does.

This is the one module of `results` that uses private names of scikit-learn (1.5 to 1.9).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import (
    _check_method_params,
    _insert_error_scores,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils import indexable

from skygrid.errors import FitKilledError, UsageError
from skygrid.plan.records import Outcome, RoundPlan
from skygrid.worker.scores import from_wire

CHECKS_CV_ITSELF = hasattr(BaseSearchCV, "_check_input_parameters")
"""From scikit-learn 1.9 on, `BaseSearchCV.fit` keeps the checked splitter as an attribute."""

HAS_CALLBACKS = hasattr(BaseSearchCV, "set_callbacks")
"""From scikit-learn 1.9 on, estimators may carry fit callbacks."""


@dataclass(frozen=True, kw_only=True)
class SearchWork:
    """What every fit of a search needs, beside its candidate and its split."""

    X: Any
    y: Any
    estimator: Any
    """The unfitted base estimator; every fit clones it."""

    scorer: Any
    fit_params: Mapping[str, Any]
    """Routed to the estimator's ``fit``."""

    score_params: Mapping[str, Any]
    """Routed to the scorer."""

    return_train_score: bool
    error_score: Any
    verbose: int
    callback_context: bool = True
    """Whether the search passes the context of fit callbacks on; scikit-learn's own ones do."""


class RoundEvaluator(Protocol):
    """Gets the outcomes of rounds."""

    def begin(self, work: SearchWork) -> None:
        """Called before the first round, and again before a round for which the work changed."""

    def refitting(self) -> None:
        """Called once, after the last round and before the refit, if there is one."""

    def evaluate(self, plan: RoundPlan) -> tuple[RoundPlan, Sequence[Outcome]]:
        """Every task of the round.

        Returns
        -------
        plan : RoundPlan
            The plan that was evaluated: the same, or what an earlier run had drawn for it.
        outcomes : sequence of Outcome
            Of length candidates x splits, candidates first, as scikit-learn orders them.
        """


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
    evaluator : RoundEvaluator

    Returns
    -------
    search : BaseSearchCV
        The same object, fitted. Its class is the one it had.

    Raises
    ------
    UsageError
        If the search carries callbacks, or its class bypasses `BaseSearchCV.fit`.
    Exception
        Whatever scikit-learn would raise.
    """
    refuse_callbacks(search)
    own_class = type(search)
    search.__class__ = _driven_class(own_class)  # type: ignore[arg-type]  # any class is hashable
    search._skygrid_driver = _Driver(evaluator)
    try:
        search.fit(X, y, **fit_params)
        driven = "_skygrid_driven" in search.__dict__
    finally:
        search.__class__ = own_class
        search.__dict__.pop("_skygrid_driver", None)
        search.__dict__.pop("_skygrid_driven", None)
    if not driven:
        raise _not_driven(own_class)
    return search


def refuse_callbacks(search: Any) -> None:
    """Refuse scikit-learn 1.9's fit callbacks, by name and before anything runs.

    A callback expects to be called in the fitting process and to share state between fits.

    Raises
    ------
    UsageError
        If the search, or an estimator anywhere in its parameters, carries one.
    """
    if not HAS_CALLBACKS:
        return
    found = [
        f"{type(callback).__name__} on {type(owner).__name__}"
        for owner in _estimators_within(search)
        for callback in getattr(owner, "_skl_callbacks", ())
    ]
    if found:
        raise UsageError(
            f"fit callbacks cannot run on nodes: {', '.join(found)}. "
            "Remove them (set_callbacks() without arguments); skygrid shows progress by itself"
        )


def _estimators_within(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _estimators_within(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _estimators_within(item)
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        for item in value.flat:
            yield from _estimators_within(item)
    elif hasattr(value, "get_params") and not isinstance(value, type):
        yield value
        yield from _estimators_within(value.get_params(deep=False))


@functools.lru_cache(maxsize=16)
def _driven_class(own_class: type) -> type:
    """A class with `_DrivenFit` just before `BaseSearchCV` in its method resolution order.

    Named like the original, for the messages that scikit-learn builds from names. To make one takes
    a millisecond, as scikit-learn looks into all of its methods.
    """
    base = type("BaseSearchCV", (_DrivenFit,), {})
    names = {
        "__module__": own_class.__module__,
        "__qualname__": own_class.__qualname__,
        "_run_search": _only_driven(own_class),
    }
    return type(own_class)(own_class.__name__, (own_class, base), names)


def _only_driven(own_class: Any) -> Any:
    """The class's ``_run_search``, which refuses to be run by another ``fit`` than ours.

    A ``fit`` that calls ``GridSearchCV.fit(self, ...)`` by name goes past the resolution order, and
    every fit would run in this process without anybody having asked for that.
    """

    @functools.wraps(own_class._run_search)
    def run_search(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "_skygrid_driven" not in self.__dict__:
            raise _not_driven(own_class)
        return own_class._run_search(self, *args, **kwargs)

    return run_search


def _not_driven(own_class: type) -> UsageError:
    return UsageError(
        f"{own_class.__name__}.fit does not call super().fit(), so skygrid cannot take its "
        "fits over: call super().fit() there, or fit it with scikit-learn alone"
    )


@contextlib.contextmanager
def _progress_on_stderr(verbose: int) -> Iterator[None]:
    """Send what scikit-learn prints about a verbose search to stderr: stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr) if verbose else contextlib.nullcontext():
        yield


class _Driver:
    """Who evaluates a search's rounds.

    Scikit-learn copies searches with all that they hold, for one where it routes metadata; an
    evaluator has connections and threads.
    """

    def __init__(self, evaluator: RoundEvaluator) -> None:
        self.evaluator = evaluator

    def __deepcopy__(self, memo: dict[int, Any]) -> _Driver:
        return self


class _DrivenFit(BaseSearchCV):
    """`BaseSearchCV` with another ``fit``."""

    _skygrid_driver: _Driver
    """Set on a search for the time of its fit."""

    @_fit_context(prefer_skip_nested_validation=False)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        self._skygrid_driven = True
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        context = {"callback_ctx": self._begin_callbacks(X, y)} if HAS_CALLBACKS else {}
        rounds = _Rounds(self, X, y, scorers, routed, self._checked_splitter(X, y, routed))
        if CHECKS_CV_ITSELF:
            self.n_splits_ = rounds.n_splits  # halving's _run_search reads it
        if "callback_ctx" not in inspect.signature(self._run_search).parameters:
            context = {}
        with _progress_on_stderr(self.verbose):
            self._run_search(rounds.evaluate_candidates, **context)
        self.multimetric_ = rounds.multimetric
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(rounds.first_test_scores)
            refit_metric = self.refit
        self._choose_best(rounds.results, refit_metric)
        if self.refit:
            self._refit_best(X, y, routed)
        single = not isinstance(scorers, _MultimetricScorer)
        self.scorer_ = scorers if single else scorers._scorers
        self.cv_results_ = rounds.results
        self.n_splits_ = rounds.n_splits
        return self

    def _begin_callbacks(self, X: Any, y: Any) -> Any:
        """The root of scikit-learn's tree of tasks, which halving passes on; nothing listens."""
        context = self._init_callback_context(max_subtasks=1 + (self.refit is not False))
        return context.call_on_fit_task_begin(estimator=self, X=X, y=y, metadata=None)

    def _checked_splitter(self, X: Any, y: Any, routed: Any) -> Any:
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        if CHECKS_CV_ITSELF:
            self._checked_cv_orig = splitter
            self._check_input_parameters(X=X, y=y, split_params=routed.splitter.split)
        return splitter

    def _choose_best(self, results: Mapping[str, Any], refit_metric: str) -> None:
        if not self.refit and self.multimetric_:
            return
        self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _refit_best(self, X: Any, y: Any, routed: Any) -> None:
        self._skygrid_driver.evaluator.refitting()
        # The parameters are cloned too: they may be estimators (scikit-learn pull request 26786).
        self.best_estimator_ = clone(clone(self.estimator)).set_params(
            **clone(self.best_params_, safe=False)
        )
        begin = time.time()
        if y is not None:
            self.best_estimator_.fit(X, y, **routed.estimator.fit)
        else:
            self.best_estimator_.fit(X, **routed.estimator.fit)
        self.refit_time_ = time.time() - begin
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_


class _Rounds:
    """The rounds of one search so far, and the results over all of them."""

    def __init__(
        self, search: Any, X: Any, y: Any, scorers: Any, routed: Any, splitter: Any
    ) -> None:
        self.n_splits = splitter.get_n_splits(X, y, **routed.splitter.split)
        self.results: dict[str, Any] = {}
        self._search, self._X, self._y = search, X, y
        self._scorers, self._routed, self._splitter = scorers, routed, splitter
        self._round = 0
        self._candidates: list[Mapping[str, Any]] = []
        self._out: list[dict[str, Any]] = []
        self._more: dict[str, list[Any]] = defaultdict(list)
        self._estimator = clone(search.estimator)
        self._work: SearchWork | None = None

    def _begin(self, *, callback_context: bool) -> None:
        """Tell the evaluator what the next round is about, unless it knows."""
        if self._work is not None and self._work.callback_context == callback_context:
            return
        search = self._search
        self._work = SearchWork(
            X=self._X,
            y=self._y,
            estimator=self._estimator,
            scorer=self._scorers,
            fit_params=self._routed.estimator.fit,
            score_params=self._routed.scorer.score,
            return_train_score=search.return_train_score,
            error_score=search.error_score,
            verbose=search.verbose,
            callback_context=callback_context,
        )
        search._skygrid_driver.evaluator.begin(self._work)

    @property
    def first_test_scores(self) -> Any:
        """What the very first fit scored."""
        return self._out[0]["test_scores"]

    @property
    def multimetric(self) -> bool:
        """Whether scores are dicts; with a callable scorer only the scores can tell."""
        return isinstance(self.first_test_scores, dict)

    def evaluate_candidates(
        self,
        candidate_params: Iterable[Mapping[str, Any]],
        cv: Any = None,
        more_results: Mapping[str, Sequence[Any]] | None = None,
        callback_ctx: Any = None,
    ) -> dict[str, Any]:
        """What `_run_search` is given: evaluate candidates, return the results so far."""
        search = self._search
        candidates = list(candidate_params)
        asked = RoundPlan(
            round=self._round,
            candidates=candidates,
            splits=self._splits(cv or self._splitter, len(candidates)),
        )
        self._round += 1
        self._say(asked)
        self._begin(callback_context=callback_ctx is not None)
        plan, outcomes = search._skygrid_driver.evaluator.evaluate(asked)
        out = [self._as_sklearn(outcome) for outcome in outcomes]
        if not out:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no candidates?"
            )
        _warn_or_raise_about_fit_failures(out, search.error_score)
        if callable(search.scoring):
            _insert_error_scores(out, search.error_score)
        self._candidates.extend(plan.candidates)
        self._out.extend(out)
        for key, values in (more_results or {}).items():
            self._more[key].extend(values)
        self.results = search._format_results(
            self._candidates, self.n_splits, self._out, self._more
        )
        return self.results

    def _splits(self, splitter: Any, n_candidates: int) -> list[tuple[Any, Any]]:
        splits = list(splitter.split(self._X, self._y, **self._routed.splitter.split))
        # Before 1.9 scikit-learn notices first that there is nothing to fit.
        if len(splits) != self.n_splits and (CHECKS_CV_ITSELF or (splits and n_candidates)):
            raise ValueError(
                f"cv.split and cv.get_n_splits {'return' if CHECKS_CV_ITSELF else 'returned'} "
                f"inconsistent results. Expected {self.n_splits} splits, got {len(splits)}"
            )
        return splits

    def _say(self, plan: RoundPlan) -> None:
        if self._search.verbose > 0:
            print(  # noqa: T201 (scikit-learn's own words, where it says its others)
                f"Fitting {len(plan.splits)} folds for each of {len(plan.candidates)} candidates,"
                f" totalling {plan.n_tasks} fits"
            )

    def _as_sklearn(self, outcome: Outcome) -> dict[str, Any]:
        """An outcome as ``_fit_and_score`` would have returned it."""
        if outcome.status == "killed" and self._search.error_score == "raise":
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
        if self._search.return_train_score:
            out["train_scores"] = (
                self._scores(outcome.train_scores) if scored else self._error_scores()
            )
        return out

    def _scores(self, scores: Any) -> Any:
        return scores if type(scores) is float else from_wire(scores)

    def _error_scores(self) -> Any:
        if isinstance(self._scorers, _MultimetricScorer):
            return dict.fromkeys(self._scorers._scorers, self._search.error_score)
        return self._search.error_score

    def _describe(self, outcome: Outcome) -> str:
        return f"candidate {outcome.candidate}, split {outcome.split} of round {outcome.round}"
