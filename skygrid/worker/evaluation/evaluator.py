"""Fitting and scoring one candidate on one split, exactly as scikit-learn does it.

Beside `split_samples` this is the one module of `worker` that uses private names of scikit-learn.
`_fit_and_score`: the text of a failed fit's traceback and every corner of scoring are then
scikit-learn's own. And `_get_param_names`.
"""

from __future__ import annotations

import functools
import inspect
import os
import random
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection._validation import _fit_and_score

from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.user_code.warning_rules import filters_of
from skygrid.worker.wire.messages import FitResult, WarningNote
from skygrid.worker.wire.scores import to_wire

from .exception_records import records_of
from .joblib_backend import run_in_process
from .plain_arrays import know_plain_arrays
from .samples import SplitSamples
from .shared_samples import SharedSamples

TAKES_CONTEXT = "callback_ctx" in inspect.signature(_fit_and_score).parameters
"""From scikit-learn 1.9 on, fits are told of the callbacks of a search."""

ONCE_ACTIONS = frozenset({"default", "module", "once"})
"""Filter actions that show a warning once; here every one is counted, the driver shows it once."""


def _random_state() -> tuple[str, Any, int, int, float]:
    """A state of NumPy's generator that nobody has; its own way to one takes a millisecond of page
    faults in a process that was just forked.
    """
    words = 624  # of the Mersenne Twister's state
    return "MT19937", np.frombuffer(os.urandom(4 * words), np.uint32), words, 0, 0.0


class Evaluator:
    """Runs the tasks of one round.

    Parameters
    ----------
    data : mapping
        ``X``, ``y``, ``fit_params`` and ``score_params``.
    search : mapping
        ``estimator``, ``scorer``, ``return_train_score``, ``error_score``, ``verbose``,
        ``sklearn_config``, ``warning_rules``, ``joblib`` (a `JoblibContext`) and, where
        scikit-learn knows fit callbacks, ``callback_context``: whether the search passes their
        context on.
    plan : mapping
        ``candidates``, a list of parameter settings, and ``splits``, a list of (train, test).
    shared : SharedSamples, optional
        Handed to scikit-learn as X, where the slots of this node have samples in common.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        search: Mapping[str, Any],
        plan: Mapping[str, Any],
        shared: SharedSamples | None = None,
    ) -> None:
        self._X, self._y = data["X"] if shared is None else shared, data["y"]
        self._shared = None if shared is None else shared.samples
        self._search = search
        self._candidates: Sequence[Mapping[str, Any]] = plan["candidates"]
        self._splits: Sequence[tuple[Any, Any]] = plan["splits"]
        self.samples = SplitSamples(self._X, self._y, self._splits)
        self._fit_seconds = 0.0
        self.noted: list[WarningNote] = []
        """Warnings of the fit that runs or ran last."""

        self._kwargs = {
            "scorer": search["scorer"],
            "fit_params": data["fit_params"],
            "score_params": data["score_params"],
            "return_train_score": search["return_train_score"],
            "return_n_test_samples": True,
            "return_times": True,
            "return_parameters": False,
            "error_score": search["error_score"],
            "verbose": search["verbose"],
        }
        if TAKES_CONTEXT:
            # With a context, even one that does nothing, scikit-learn takes the branch that its
            # own searches take; a traceback then names the same lines.
            context = _NoCallbacks() if search.get("callback_context", True) else None
            self._kwargs |= {"caller": None, "callback_ctx": context}

    @property
    def scorer(self) -> Any:
        """What scores a fit: one callable, scikit-learn's own multimetric scorer included."""
        return self._search["scorer"]

    def prepare_process(self, pools: ThreadPools) -> None:
        """Make this process a slot: threads, joblib, warnings, random state, settings.

        All of it stays in force for the life of the process; nothing restores it.

        Parameters
        ----------
        pools : ThreadPools
            Limits the threads that a fit may use. A forked slot has what its agent found, and
            touches none of the libraries that are limited already: each would cost page faults.
        """
        sklearn.set_config(**self._search["sklearn_config"])
        if not pools.limited:
            pools.limit()
        run_in_process(self._search["joblib"])
        BaseEstimator._get_param_names = classmethod(_parameter_names)
        know_plain_arrays()
        # A forked slot has its siblings' random state; unseeded estimators must not repeat them.
        random.seed()
        np.random.set_state(_random_state())
        warnings.showwarning = self._note_warning
        warnings.resetwarnings()
        warnings.filters.extend(  # type: ignore[attr-defined]  # a list, typed as a sequence
            (("always" if rule[0] in ONCE_ACTIONS else rule[0]), *rule[1:])
            for rule in filters_of(self._search["warning_rules"])
        )

    def leave_process(self) -> None:
        """Let go of this in the process: what is still in force of it holds no data."""
        warnings.showwarning = _shown_anew

    def evaluate(
        self,
        lease: int,
        slot: int,
        candidate: int,
        split: int,
        prepare: Callable[[Any], None] | None = None,
        scorer: Any = None,
    ) -> FitResult:
        """Fit and score one candidate on one split.

        Parameters
        ----------
        lease, slot : int
            Copied into the result.
        candidate, split : int
            Indices into the round's candidates and splits.
        prepare : callable, optional
            Given the estimator before the candidate's parameters are set on it.
        scorer : callable, optional
            Stands for the search's own.

        Returns
        -------
        result : FitResult
            Whatever the estimator does short of ending the process; nothing is raised.
        """
        shared = self._shared
        result = self._evaluate(lease, slot, candidate, split, prepare, scorer)
        if shared is None or not shared.handed_out or prepare is not None or is_expected(result):
            return result
        # An array of its own can be resized, and is told from a mapped one: then this was why.
        shared.left_aside = True
        try:
            return self._evaluate(lease, slot, candidate, split, prepare, scorer)
        finally:
            shared.left_aside = False

    def _evaluate(
        self,
        lease: int,
        slot: int,
        candidate: int,
        split: int,
        prepare: Callable[[Any], None] | None,
        scorer: Any,
    ) -> FitResult:
        self.noted = []
        if self._shared is not None:
            self._shared.handed_out = False
        train, test = self._splits[split]
        try:
            estimator = clone(self._search["estimator"])
            if prepare is not None:
                prepare(estimator)
            with self.samples.at_hand(split):
                out = _fit_and_score(
                    estimator,
                    self._X,
                    self._y,
                    train=train,
                    test=test,
                    parameters=self._candidates[candidate],
                    split_progress=(split, len(self._splits)),
                    candidate_progress=(candidate, len(self._candidates)),
                    **(self._kwargs if scorer is None else self._kwargs | {"scorer": scorer}),
                )
            return self._result(lease, candidate, slot, out)
        except BaseException as error:  # noqa: BLE001 (it travels to the driver as data)
            return self._raised(lease, candidate, slot, error)

    def remember_length(self) -> None:
        """Take the fit that ran last for the measure of the next one."""
        if self._shared is not None:
            self._shared.remember_length(self._fit_seconds)

    def _result(self, lease: int, candidate: int, slot: int, out: Mapping[str, Any]) -> FitResult:
        failed = out["fit_error"] is not None
        self._fit_seconds = out["fit_time"]
        return FitResult(
            lease=lease,
            candidate=candidate,
            slot=slot,
            status="failed" if failed else "scored",
            test_scores=None if failed else to_wire(out["test_scores"]),
            train_scores=(
                to_wire(out["train_scores"]) if "train_scores" in out and not failed else None
            ),
            n_test_samples=int(out["n_test_samples"]),
            fit_seconds=out["fit_time"],
            score_seconds=out["score_time"],
            fit_error=out["fit_error"],
            warnings=tuple(self.noted),
        )

    def _raised(self, lease: int, candidate: int, slot: int, error: BaseException) -> FitResult:
        return FitResult(
            lease=lease,
            candidate=candidate,
            slot=slot,
            status="raised",
            fit_error="".join(traceback.format_exception(error)),
            exception=records_of(error),
            warnings=tuple(self.noted),
        )

    def _note_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        self.noted.append(
            WarningNote(
                f"{category.__module__}:{category.__qualname__}", str(message), filename, lineno
            )
        )


_shown_anew = warnings.showwarning

_names_anew = vars(BaseEstimator)["_get_param_names"].__func__


def _parameter_names(kind: type) -> list[str]:
    """Names of the parameters of a class of estimators, in scikit-learn's own order.

    They follow from the signature of its constructor. scikit-learn reads that anew for every clone
    and every parameter that is set, which takes longer than many a fit.
    """
    return list(_names_of(kind, kind.__init__))  # type: ignore[misc]  # a key, not called


@functools.lru_cache(maxsize=1000)
def _names_of(kind: type, _constructor: Any) -> tuple[str, ...]:
    return tuple(_names_anew(kind))


class _NoCallbacks:
    """Stands where scikit-learn 1.9 and later pass the context of their fit callbacks."""

    def propagate_callback_context(self, estimator: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def call_on_fit_task_begin(self, **_: Any) -> _NoCallbacks:
        return self

    def call_on_fit_task_end(self, **_: Any) -> None: ...


def is_expected(result: FitResult) -> bool:
    """Whether everything was scored: texts of errors name the code that was run."""
    return result.status == "scored" and not any(
        "Scoring failed" in note.message for note in result.warnings
    )
