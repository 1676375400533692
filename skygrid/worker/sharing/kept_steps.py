"""First steps of a pipeline that are fitted once and reused by other fits.

scikit-learn's own `fit` of the pipeline runs. While it runs, methods of the first steps are
replaced on the objects: the last kept step returns the output of the whole chain, and the steps
before it return X unchanged. Where scores follow from predictions alone, `transform` is replaced
too, so that test data also pass these steps once.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Sequence
from typing import Any

from sklearn.base import BaseEstimator

from skygrid.worker.evaluation.sklearn_private import validate_parameters
from skygrid.worker.wire.messages.results import WarningNote

from .pipelines import Level, branches_of, last_kept, whole
from .prefix_store import Made, Store, keeps_every_bit
from .rules import SharedFit, fitted_state, rule_for

_HOOKS = ("fit_transform", "transform", "__sklearn_clone__")


class KeptChain:
    """A chain of steps, the first of which are kept.

    Parameters
    ----------
    steps : sequence of estimator
    line : sequence of Level
        Levels of these steps, from `pipelines.levels`.
    kept : collection of str
        Digests that are worth keeping.
    store : Store
    notes : list of WarningNote
        Warnings of the fit; those of reused steps are appended.
    context : str
        Digest of the first step's input.
    """

    def __init__(
        self,
        steps: Sequence[Any],
        line: Sequence[Level],
        kept: Collection[str],
        store: Store,
        notes: list[WarningNote],
        context: str,
    ) -> None:
        self._steps = list(steps)
        self._line = line
        self._kept = kept
        self._store = store
        self._notes = notes
        self._context = context
        self._last = last_kept(line, kept, states=True)
        self._params: dict[int, dict[str, Any]] = {}
        self._unfitted: dict[int, frozenset[str]] = {}
        self._passing: set[str] = set(_HOOKS)
        """Names of attributes that a step has only during its fit."""

        self._hooked: list[Any] = []
        self._inner: list[KeptChain] = []

    def install(self) -> None:
        """Replace `fit_transform` of the kept steps, and of kept steps within the others."""
        for index in range(self._last + 1):
            self._hook(index)
        for index in range(self._last + 1, len(self._line)):
            self._install_branches(index)

    def strip(self) -> None:
        """Restore the methods of every step."""
        for step in self._hooked:
            for name in _HOOKS:
                vars(step).pop(name, None)
        self._hooked.clear()
        for chain in self._inner:
            chain.strip()
        self._inner.clear()

    def _hook(self, index: int) -> None:
        step = self._steps[index]
        self._unfitted[index] = frozenset(vars(step))
        vars(step)["fit_transform"] = functools.partial(self._fit_transform, index)
        # ColumnTransformer fits clones of its transformers.
        vars(step)["__sklearn_clone__"] = functools.partial(self._clone, index)
        self._hooked.append(step)

    def _clone(self, index: int) -> Any:
        clone = BaseEstimator.__sklearn_clone__(self._steps[index])
        self._steps[index] = clone
        self._hook(index)
        return clone

    def _fit_transform(self, index: int, X: Any, y: Any = None, **params: Any) -> Any:
        self._params[index] = params
        self._passing |= vars(self._steps[index]).keys() - self._unfitted[index]
        if index < self._last:
            return X  # only the next step of this chain receives it
        if any(self._params.values()):
            return self._run(0, self._last, X, y)  # kept fits know only X and y
        return self._level(self._last, X, y)

    def _level(self, index: int, X: Any, y: Any) -> Any:
        """Return the output of a level with all steps up to it fitted, stored if possible."""
        level = self._line[index]
        if level.digest is None or level.digest not in self._kept:
            return self._after_earlier(index, X, y)
        made, there = self._store.take(level.digest, "fit", lambda: self._make(index, X, y))
        if not there:
            return made.value[1]
        self._notes.extend(made.notes)
        states, output = made.value
        for step, state in zip(self._steps, states, strict=False):
            vars(step).update(state)
        return output

    def _make(self, index: int, X: Any, y: Any) -> Made:
        noted = len(self._notes)
        output = self._after_earlier(index, X, y)
        notes = tuple(self._notes[noted:])
        states = [self._state(step) for step in self._steps[: index + 1]]
        exact = keeps_every_bit(output, X) and not any(map(names_this_code, notes))
        return Made(value=(states, output), notes=notes, exact=exact)

    def _state(self, step: Any) -> dict[str, Any]:
        return {name: value for name, value in vars(step).items() if name not in self._passing}

    def _after_earlier(self, index: int, X: Any, y: Any) -> Any:
        """Return the output of a level, computed from the last kept level before it."""
        earlier = last_kept(self._line[:index], self._kept, states=True)
        if earlier >= 0:
            X = self._level(earlier, X, y)
        return self._run(earlier + 1, index, X, y)

    def _run(self, first: int, last: int, X: Any, y: Any) -> Any:
        for index in range(first, last + 1):
            step = self._steps[index]
            params = self._params.get(index, {})
            state = self._line[index].state
            if state in self._kept and state is not None and not params:
                X = self._from_state(index, state, X, y)
                continue
            self._install_branches(index)
            X = type(step).fit_transform(step, X, y, **params)
            for chain in self._inner:
                chain.strip()
            self._inner.clear()
        return X

    def _from_state(self, index: int, name: str, X: Any, y: Any) -> Any:
        """Fit a step from a kept fit with other values of its rule's free parameters."""
        step = self._steps[index]
        rule = rule_for(f"{type(step).__module__}.{type(step).__qualname__}")
        assert rule is not None  # only steps with a rule have a state
        made, there = self._store.take(name, "state", lambda: self._make_state(step, X, y))
        if there:
            self._notes.extend(made.notes)
            validate_parameters(step)
            fitted = BaseEstimator.__sklearn_clone__(step)
            vars(fitted).update(made.value)
            if not rule.derive(SharedFit(estimator=fitted, arguments=(X, y), fit_params={}), step):
                type(step).fit(step, X, y)
        return step.transform(X)

    def _make_state(self, step: Any, X: Any, y: Any) -> Made:
        noted = len(self._notes)
        type(step).fit(step, X, y)
        notes = tuple(self._notes[noted:])
        return Made(
            value=fitted_state(self._bare(step)),
            notes=notes,
            exact=not notes,  # a warning may depend on this value of the free parameters
        )

    def _bare(self, step: Any) -> Any:
        bare = BaseEstimator.__sklearn_clone__(step)
        vars(bare).update(self._state(step))
        return bare

    def _install_branches(self, index: int) -> None:
        if not self._line[index].branches:
            return
        context = self._line[index - 1].digest if index else self._context
        assert context is not None  # only the last level may be uncertain
        inner = branches_of(self._steps[index], context)
        for (start, transformer), line in zip(inner, self._line[index].branches, strict=True):
            steps = [step.estimator for step in whole(transformer)]
            chain = KeptChain(steps, line, self._kept, self._store, self._notes, start)
            chain.install()
            self._inner.append(chain)


def names_this_code(note: WarningNote) -> bool:
    """Return True if skygrid's code raised a warning; a separate fit would name another caller."""
    return note.filename.startswith(_THIS_CODE)


_THIS_CODE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


class KeptOutputs:
    """Output of a fitted pipeline's first steps, computed once for test and once for training data.

    Valid only for scorers that call methods of the whole estimator on the same X object.

    Parameters
    ----------
    steps : sequence of estimator
        Fitted steps; the output of the last one is kept.
    name : str
        Digest of that output.
    X_train : object
        The X given to `fit`.
    store : Store
    notes : list of WarningNote
        Warnings of the fit; those of reused data are appended.
    """

    def __init__(
        self,
        steps: Sequence[Any],
        name: str,
        X_train: Any,
        store: Store,
        notes: list[WarningNote],
    ) -> None:
        self._steps = steps
        self._name = name
        self._X_train = X_train
        self._store = store
        self._notes = notes

    def install(self) -> None:
        """Replace `transform` of the steps."""
        for step in self._steps[:-1]:
            vars(step)["transform"] = _pass_on
        vars(self._steps[-1])["transform"] = self._transform

    def _transform(self, X: Any) -> Any:
        part = "train" if X is self._X_train else "test"
        made, there = self._store.take(self._name, part, lambda: self._make(X))
        if there:
            self._notes.extend(made.notes)
        return made.value

    def _make(self, X: Any) -> Made:
        noted = len(self._notes)
        output = X
        for step in self._steps:
            output = type(step).transform(step, output)
        notes = tuple(self._notes[noted:])
        return Made(
            value=output,
            notes=notes,
            exact=keeps_every_bit(output, X) and not any(map(names_this_code, notes)),
        )


def _pass_on(X: Any) -> Any:
    return X
