"""A fit that can reuse the first steps of other fits."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from skygrid.worker.evaluation.evaluator import Evaluator
from skygrid.worker.wire.messages.results import WarningNote

from .identity import is_plain_scorer
from .kept_steps import KeptChain, KeptOutputs
from .pipelines import START, Level, UnfoldedPipeline, last_kept, levels, unfold
from .prefix_store import Store


class PrefixFit:
    """One fit that can reuse the first steps of other fits.

    Parameters
    ----------
    evaluator : Evaluator
    store : Store or None
        None: no step is kept.
    kept : frozenset of str
        Digests that are worth keeping.
    """

    def __init__(self, evaluator: Evaluator, store: Store | None, kept: frozenset[str]) -> None:
        self._evaluator = evaluator
        self._store = store
        self._kept = kept

    def begin(self, estimator: Any) -> None:
        """Replace `fit` of an estimator whose parameters are not yet set."""
        vars(estimator)["fit"] = functools.partial(self._fit, estimator)

    def _fit(self, estimator: Any, *arguments: Any, **fit_params: Any) -> Any:
        del vars(estimator)["fit"]
        unfolded, notes = unfold(estimator), self._evaluator.noted
        known = levels([step.estimator for step in unfolded.steps])
        fit_with_kept(
            estimator, unfolded, known, self._kept, self._store, notes, arguments, fit_params
        )
        if self._store is not None and is_plain_scorer(self._evaluator.scorer):
            keep_outputs(unfolded, known, self._kept, arguments[0], self._store, notes)
        return estimator


def fit_with_kept(
    estimator: Any,
    unfolded: UnfoldedPipeline,
    known: Sequence[Level],
    kept: frozenset[str],
    store: Store | None,
    notes: list[WarningNote],
    arguments: tuple[Any, ...],
    fit_params: Mapping[str, Any],
) -> None:
    """Call an estimator's own `fit` and reuse the first steps that are kept.

    Parameters
    ----------
    estimator : estimator
    unfolded, known
        Its steps and their levels.
    kept : frozenset of str
        Digests that are worth keeping.
    store : Store or None
    notes : list of WarningNote
        Warnings of the fit; those of reused steps are appended.
    arguments, fit_params
        Arguments of `fit`.
    """
    if store is None or not known:
        type(estimator).fit(estimator, *arguments, **fit_params)
        return
    steps = [step.estimator for step in unfolded.steps]
    chain = KeptChain(steps, known, kept, store, notes, START)
    chain.install()
    try:
        type(estimator).fit(estimator, *arguments, **fit_params)
    finally:
        chain.strip()


def keep_outputs(
    unfolded: UnfoldedPipeline,
    known: Sequence[Level],
    kept: frozenset[str],
    X_train: Any,
    store: Store,
    notes: list[WarningNote],
) -> None:
    """Have a fitted pipeline reuse the output of its last kept step."""
    last = last_kept(known, kept, states=False)
    if last < 0:
        return
    name = known[last].digest
    assert name is not None  # `last_kept` compares digests
    steps = [step.estimator for step in unfolded.steps[: last + 1]]
    KeptOutputs(steps, name, X_train, store, notes).install()
