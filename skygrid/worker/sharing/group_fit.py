"""One fit that answers several candidates."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import operator
import time
from collections.abc import Collection, Sequence
from typing import Any

from skygrid.worker.evaluation.evaluator import Evaluator
from skygrid.worker.evaluation.sklearn_private import validate_parameters
from skygrid.worker.wire.messages.results import WarningNote

from .array_layout import copy_state
from .identity import is_plain_scorer
from .pipelines import Level, UnfoldedPipeline, levels, unfold
from .prefix_fit import fit_with_kept, keep_outputs
from .prefix_store import OwnParts, Store, keeps_every_bit
from .repeated_scores import RepeatedScores
from .rules import Rule, SharedFit

_IMMUTABLE = (type(None), str, bytes, numbers.Number)
"""Types of parameters that a fit cannot modify; parameters of other types are handed to members."""


class NotAnsweredError(Exception):
    """The shared fit does not answer this candidate."""


class GroupFit:
    """One fit that answers several candidates.

    Parameters
    ----------
    rule : Rule
        The rule that groups the candidates.
    evaluator : Evaluator
    store : Store or None
        Holds pipeline steps that are shared with other fits.
    kept : frozenset of str
        Digests that are worth keeping.
    scores : RepeatedScores or None
        Scores computed so far; None if scores do not follow from predictions.
    """

    def __init__(
        self,
        rule: Rule,
        evaluator: Evaluator,
        store: Store | None,
        kept: frozenset[str],
        scores: RepeatedScores | None,
    ) -> None:
        self._rule = rule
        self._evaluator = evaluator
        self._store = store
        self._kept = kept
        self._outputs = OwnParts()
        self._plain = is_plain_scorer(evaluator.scorer)
        """If false, the scorer may write into X and the estimator, so each member gets copies."""

        self._scores = scores
        self.scorer = scores.scorer(evaluator.scorer) if scores else None
        """Scorer of the members; None for the search's own scorer."""

        self._known: tuple[Level, ...] = ()
        self._unfitted: frozenset[str] = frozenset()
        """Names of the last step's attributes before its fit."""

        self._held: dict[str, Any] = {}
        """Mutable parameters of the shared fit; fitted attributes may refer to these objects."""

        self._X_train: Any = None
        self._states: list[dict[str, Any]] = []
        self._notes: tuple[WarningNote, ...] = ()
        self._seconds = 0.0
        self._weight = 1.0
        self.shared: SharedFit | None = None
        """The fit, once it is complete."""

        self.spared_seconds = 0.0
        """Part of the shared fit's time, in seconds, that the last member did not need."""

    def begin(self, estimator: Any) -> None:
        """Replace `fit` of the first member, the one with the largest weight."""
        vars(estimator)["fit"] = functools.partial(self._fit, estimator)

    def answer(self, estimator: Any) -> None:
        """Replace `fit` of a further member."""
        vars(estimator)["fit"] = functools.partial(self._take_over, estimator)

    def _fit(self, estimator: Any, *arguments: Any, **fit_params: Any) -> Any:
        """Run the shared fit in place of the first member's own."""
        del vars(estimator)["fit"]
        unfolded = unfold(estimator)
        last = _last(unfolded)
        self._known = levels([step.estimator for step in unfolded.steps])
        self._unfitted = frozenset(vars(last))
        self._X_train = arguments[0]
        vars(last)["fit"] = functools.partial(self._fit_last, last)
        if last is estimator:
            last.fit(*arguments, **fit_params)
        else:
            fit_with_kept(
                estimator,
                unfolded,
                self._known,
                self._kept,
                self._store,
                self._evaluator.noted,
                arguments,
                fit_params,
            )
        self._states = [dict(vars(step.estimator)) for step in unfolded.steps]
        self._finish(unfolded, arguments)
        return estimator

    def _fit_last(self, last: Any, *arguments: Any, **fit_params: Any) -> Any:
        del vars(last)["fit"]
        self._check_reach(arguments[0])
        before = dict(vars(last))
        own = last.get_params(deep=False)
        notes = self._evaluator.noted
        noted = len(notes)
        start = time.perf_counter()
        last.set_params(**self._rule.shared(own))
        type(last).fit(last, *arguments, **fit_params)
        self._seconds = time.perf_counter() - start
        if len(notes) > noted:
            raise NotAnsweredError  # the warnings of each member's own fit are unknown
        self._notes = tuple(notes)
        self._weight = self._rule.weight(own)
        # scikit-learn sets some attributes only while `fit` runs. The snapshot omits those.
        fitted = _snapshot(last, without=before.keys() - self._unfitted)
        # A fit may store its parameters in attributes, and fits the ones that are estimators.
        self._held = {n: value for n, value in own.items() if not isinstance(value, _IMMUTABLE)}
        vars(last).clear()
        vars(last).update(before)
        self.shared = SharedFit(estimator=fitted, arguments=arguments, fit_params=fit_params)
        self._derive(self.shared, last)
        return last

    def _take_over(self, estimator: Any, *arguments: Any, **_: Any) -> Any:
        assert self.shared is not None
        del vars(estimator)["fit"]
        unfolded = unfold(estimator)
        for step, state in zip(unfolded.steps, self._states, strict=True):
            vars(step.estimator).update(state)
        self._evaluator.noted.extend(self._notes)
        last = _last(unfolded)
        validate_parameters(last)
        share = self._rule.weight(last.get_params(deep=False)) / self._weight
        self.spared_seconds = self._seconds * (1.0 - share)
        vars(last).update(self._held)
        self._derive(self._as_given(arguments), last)
        self._finish(unfolded, arguments)
        return estimator

    def _as_given(self, arguments: tuple[Any, ...]) -> SharedFit:
        """Return the shared fit with the arguments of this member's own fit.

        Scorers may have written into the X and y of earlier members.
        """
        assert self.shared is not None
        X = self.shared.arguments[0]
        given = (arguments[0] if X is self._X_train else X, *arguments[1:])
        if all(map(operator.is_, given, self.shared.arguments)):
            return self.shared
        return dataclasses.replace(self.shared, arguments=given)

    def _check_reach(self, X: Any) -> None:
        """Check that the scorer cannot write into the input of the last step.

        Raises
        ------
        NotAnsweredError
            If X may be a view of the training data. The training data themselves are safe: each
            member gets its own.
        """
        if not self._plain and X is not self._X_train and not keeps_every_bit(X, self._X_train):
            raise NotAnsweredError

    def _derive(self, shared: SharedFit, last: Any) -> None:
        if not self._rule.derive(shared, last):
            raise NotAnsweredError

    def _finish(self, unfolded: UnfoldedPipeline, arguments: Sequence[Any]) -> None:
        last = _last(unfolded)
        if not self._plain:
            _detach([*(step.estimator for step in unfolded.steps), last])
        self._install_outputs(unfolded, arguments[0])
        if self._scores is not None:
            self._scores.install(last)

    def _install_outputs(self, unfolded: UnfoldedPipeline, X_train: Any) -> None:
        """Have all members score on the same transformed data, transformed once."""
        if self._known and self._plain:
            ends = frozenset({self._known[-1].digest or ""})
            notes = self._evaluator.noted
            keep_outputs(unfolded, self._known, ends, X_train, self._outputs, notes)


def _last(unfolded: UnfoldedPipeline) -> Any:
    if unfolded.last is None:
        raise NotAnsweredError
    return unfolded.last.estimator


def _snapshot(estimator: Any, without: Collection[str]) -> Any:
    """Return a shallow copy of an estimator that lacks some attributes."""
    taken = object.__new__(type(estimator))
    vars(taken).update({n: value for n, value in vars(estimator).items() if n not in without})
    return taken


def _detach(estimators: Sequence[Any]) -> None:
    """Replace all attributes by deep copies, made together so that shared objects stay shared."""
    for estimator, copied in zip(estimators, copy_state(list(map(vars, estimators))), strict=True):
        vars(estimator).update(copied)
