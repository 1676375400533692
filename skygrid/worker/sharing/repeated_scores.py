"""Scores of equal predictions, computed once for all candidates of a shared fit.

Only scikit-learn's own metrics are known to depend on labels and predictions alone and not to
modify them. Any other scorer is called for each candidate.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from skygrid.worker.evaluation.sklearn_private import (
    metric_of,
    replace_metric,
    replace_scorers_within,
    scorers_within,
    scores_predictions,
)
from skygrid.worker.wire.messages.results import WarningNote

from .identity import Uncertain, value_key

MOST_SCORES = 20_000
"""Most scores kept at a time, each about 400 bytes with its key."""


class RepeatedScores:
    """Scores by metric, labels and predictions.

    Labels are compared by identity: a score is reused only for the same label object.

    Parameters
    ----------
    notes : callable
        Returns the warnings of the current fit.
    """

    def __init__(self, notes: Callable[[], Sequence[WarningNote]]) -> None:
        self._notes = notes
        self._known: dict[Hashable, tuple[Any, Any]] = {}
        """Each score with its labels: a reference to the labels keeps their id from being reused.
        """

    def forget(self) -> None:
        self._known.clear()

    def scorer(self, scorer: Any) -> Any:
        """Return a copy of a scorer that reuses known scores; `uses_known_metrics` must hold for
        it."""
        parts = scorers_within(scorer)
        if parts:
            taken = copy.copy(scorer)
            scorers = {name: self.scorer(part) for name, part in parts.items()}
            replace_scorers_within(taken, scorers)
            return taken
        if not scores_predictions(scorer):
            return scorer
        taken, metric = copy.copy(scorer), metric_of(scorer)

        @functools.wraps(metric)
        def score(labels: Any, predicted: Any, **settings: Any) -> Any:
            return self.score(metric, labels, predicted, **settings)

        replace_metric(taken, score)
        return taken

    def install(self, estimator: Any) -> None:
        """Replace `score` of a fitted classifier if it is the default accuracy."""
        if type(estimator).score is not ClassifierMixin.score:
            return

        def score(X: Any, y: Any, sample_weight: Any = None) -> Any:
            predicted = estimator.predict(X)
            return self.score(accuracy_score, y, predicted, sample_weight=sample_weight)

        vars(estimator)["score"] = score

    def score(
        self,
        metric: Callable[..., Any],
        labels: Any,
        predicted: Any,
        **settings: Any,
    ) -> Any:
        """Return the score of predictions, from memory if equal ones were scored before."""
        try:
            key = (metric, id(labels), _predictions_key(predicted), value_key(settings))
        except Uncertain:
            return metric(labels, predicted, **settings)
        known = self._known.get(key)
        if known is not None:
            return known[0]
        noted = len(self._notes())
        score = metric(labels, predicted, **settings)
        if len(self._notes()) == noted:  # a score that warns is computed, and warns, each time
            if len(self._known) >= MOST_SCORES:
                self._known.clear()
            self._known[key] = score, labels
        return score


def _predictions_key(predicted: Any) -> Hashable:
    if type(predicted) is not np.ndarray or predicted.dtype.hasobject:
        raise Uncertain
    if not predicted.flags.c_contiguous:
        raise Uncertain  # the layout may change the order of summation
    bits = hashlib.blake2b(predicted.tobytes(), digest_size=16).digest()
    return predicted.dtype.str, predicted.shape, bits
