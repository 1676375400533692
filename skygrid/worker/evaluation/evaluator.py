"""Fit and score one candidate on one split, exactly as scikit-learn does.

Calls the function that scikit-learn's own searches call, so that scores, and tracebacks of failed
fits, are scikit-learn's own.
"""

from __future__ import annotations

import os
import random
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import sklearn
from sklearn.base import clone

from skygrid.worker.machine.thread_pools import ThreadPools
from skygrid.worker.user_code.warning_rules import filters_of
from skygrid.worker.wire.messages.results import FitResult, WarningNote
from skygrid.worker.wire.scores import to_wire

from .contents import JointData, RoundTasks, SearchData, SearchWork
from .exception_records import records_of
from .joblib_backend import run_in_process
from .plain_arrays import know_plain_arrays
from .samples import SplitSamples
from .shared_samples import SharedSamples
from .sklearn_private import TAKES_CONTEXT, fit_and_score, remember_parameter_names

ONCE_ACTIONS = frozenset({"default", "module", "once"})
"""Filter actions that show a warning once. Slots record every warning; the driver shows it once."""


def random_state() -> tuple[str, Any, int, int, float]:
    """Return a random state for NumPy's generator from the system's random bytes.

    `np.random.seed()` takes a millisecond of page faults in a newly forked process.
    """
    words = 624  # in the Mersenne Twister's state
    return "MT19937", np.frombuffer(os.urandom(4 * words), np.uint32), words, 0, 0.0


class Evaluator:
    """Evaluator of the tasks of one round.

    Parameters
    ----------
    data : SearchData or JointData
    work : SearchWork
    tasks : RoundTasks
    shared : SharedSamples, optional
        Replaces X if the slots of this node share samples.
    """

    def __init__(
        self,
        data: SearchData | JointData,
        work: SearchWork,
        tasks: RoundTasks,
        shared: SharedSamples | None = None,
    ) -> None:
        parts = data.parts if isinstance(data, JointData) else (data,)
        self._Xs = [part.X for part in parts] if shared is None else [shared]
        self._parts = parts
        self._part_of = tasks.parts or (0,) * len(tasks.splits)
        self._shared = None if shared is None else shared.samples
        self._work = work
        self._candidates, self._splits = tasks.candidates, tasks.splits
        self._samples = [
            SplitSamples(X, part.y, self._splits) for X, part in zip(self._Xs, parts, strict=True)
        ]
        self._fit_seconds = 0.0
        self.noted: list[WarningNote] = []
        """Warnings of the current or last fit."""

        self._kwargs = {
            "scorer": work.scorer,
            "return_train_score": work.return_train_score,
            "return_n_test_samples": True,
            "return_times": True,
            "return_parameters": False,
            "error_score": work.error_score,
            "verbose": work.verbose,
        }
        if TAKES_CONTEXT:
            # With a context, scikit-learn takes the same branch as in its own searches, so that
            # tracebacks name the same lines.
            context = _NoCallbacks() if work.callback_context else None
            self._kwargs |= {"caller": None, "callback_ctx": context}

    @property
    def scorer(self) -> Any:
        """The search's scorer, a single callable also for several metrics."""
        return self._work.scorer

    def samples_of(self, split: int) -> SplitSamples:
        """Return the samples of the data that a split divides."""
        return self._samples[self._part_of[split]]

    def prepare_process(self, pools: ThreadPools) -> None:
        """Make this process a slot: set threads, joblib, warnings, random states and configuration.

        The settings stay for the life of the process.

        Parameters
        ----------
        pools : ThreadPools
            Limits the threads of a fit. If a forked slot inherits limited libraries, they are not
            called again: each call would cost page faults.
        """
        sklearn.set_config(**self._work.sklearn_config)
        if not pools.limited:
            pools.limit()
        if self._work.joblib is not None:
            run_in_process(self._work.joblib)
        remember_parameter_names()
        know_plain_arrays()
        # Forked slots inherit one random state; unseeded estimators must differ between them.
        random.seed()
        np.random.set_state(random_state())
        warnings.showwarning = self._note_warning
        warnings.resetwarnings()
        warnings.filters.extend(  # type: ignore[attr-defined]  # a list, typed as a sequence
            (("always" if rule[0] in ONCE_ACTIONS else rule[0]), *rule[1:])
            for rule in filters_of(self._work.warning_rules)
        )

    def leave_process(self) -> None:
        """Restore `warnings.showwarning`, the only setting that refers to this evaluator's data."""
        warnings.showwarning = _original_showwarning

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
            Called with the estimator before the candidate's parameters are set.
        scorer : callable, optional
            Replaces the search's scorer.

        Returns
        -------
        result : FitResult
            Holds any exception of the user's code; none is raised.
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
        number = self._part_of[split]
        data = self._parts[number]
        try:
            estimator = clone(self._work.estimator)
            if prepare is not None:
                prepare(estimator)
            began = time.thread_time()
            with self._samples[number].unchecked(split):
                out = fit_and_score(
                    estimator,
                    self._Xs[number],
                    data.y,
                    fit_params=data.fit_params,
                    score_params=data.score_params,
                    train=train,
                    test=test,
                    parameters=self._candidates[candidate],
                    split_progress=(split, len(self._splits)),
                    candidate_progress=(candidate, len(self._candidates)),
                    **(self._kwargs if scorer is None else self._kwargs | {"scorer": scorer}),
                )
            # A fit that waits for a core on a busy machine is not a long one. The processor time
            # includes scoring, hence the smaller of both.
            self._fit_seconds = min(out["fit_time"], time.thread_time() - began)
            return self._result(lease, candidate, slot, out)
        except BaseException as error:  # noqa: BLE001 (it travels to the driver as data)
            return self._raised(lease, candidate, slot, error)

    def remember_length(self) -> None:
        """Remember the processor time of the last fit for the decision whether to share samples."""
        if self._shared is not None:
            self._shared.remember_length(self._fit_seconds)

    def _result(self, lease: int, candidate: int, slot: int, out: Mapping[str, Any]) -> FitResult:
        failed = out["fit_error"] is not None
        column = self._work.column_of_one_score
        if column is not None and isinstance(out["test_scores"], dict) and not failed:
            # scikit-learn raises this after the last fit. The driver accepts no scores of another
            # form, because a node might lie.
            raise KeyError(column)
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


_original_showwarning = warnings.showwarning


class _NoCallbacks:
    """Stand-in for the context of fit callbacks in scikit-learn 1.9 and later."""

    def propagate_callback_context(self, estimator: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def call_on_fit_task_begin(self, **_: Any) -> _NoCallbacks:
        return self

    def call_on_fit_task_end(self, **_: Any) -> None: ...


def is_expected(result: FitResult) -> bool:
    """Return True if fit and scoring raised no error. Texts of errors name the code that ran."""
    return result.status == "scored" and not any(
        "Scoring failed" in note.message for note in result.warnings
    )
