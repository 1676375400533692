"""Scores of equal predictions, computed once for all candidates that one fit answers.

Only scikit-learn's own metrics are known to follow from the labels alone and to leave them as they
are; a scorer with any other function in it is called for each candidate.
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

from skygrid.worker.wire.messages import WarningNote

from .identity import Uncertain, value_key

MOST_SCORES = 20_000
"""Scores that are known at a time; with their keys some 400 bytes each."""


class RepeatedScores:
    """Scores by labels and predictions.

    Labels are told apart as objects: scores are found again only for the same object.

    Parameters
    ----------
    notes : callable
        Returns the warnings of the fit that is scored.
    """

    def __init__(self, notes: Callable[[], Sequence[WarningNote]]) -> None:
        self._notes = notes
        self._known: dict[Hashable, tuple[Any, Any]] = {}
        """Scores, each with its labels: as long as these live, no other object has their id."""

    def forget(self) -> None:
        """Drop everything, labels among it."""
        self._known.clear()

    def scorer(self, scorer: Any) -> Any:
        """A scorer with the answers of this one, which `uses_known_metrics`."""
        if hasattr(scorer, "_scorers"):
            taken = copy.copy(scorer)
            taken._scorers = {name: self.scorer(part) for name, part in scorer._scorers.items()}
            return taken
        if getattr(scorer, "_response_method", None) != "predict":
            return scorer
        taken, metric = copy.copy(scorer), scorer._score_func

        @functools.wraps(metric)
        def score(labels: Any, predicted: Any, **settings: Any) -> Any:
            return self.score(metric, labels, predicted, **settings)

        taken._score_func = score
        return taken

    def install(self, estimator: Any) -> None:
        """Replace `score` of a fitted estimator where it is the accuracy of what it predicts."""
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
        """What a metric says of predictions, or has said of equal ones."""
        try:
            key = (metric, id(labels), _predictions_key(predicted), value_key(settings))
        except Uncertain:
            return metric(labels, predicted, **settings)
        known = self._known.get(key)
        if known is not None:
            return known[0]
        noted = len(self._notes())
        score = metric(labels, predicted, **settings)
        if len(self._notes()) == noted:  # else the next one is to be warned as well
            if len(self._known) >= MOST_SCORES:
                self._known.clear()
            self._known[key] = score, labels
        return score


def _predictions_key(predicted: Any) -> Hashable:
    if type(predicted) is not np.ndarray or predicted.dtype.hasobject:
        raise Uncertain
    if not predicted.flags.c_contiguous:
        raise Uncertain  # sums of the same numbers may be made in another order
    bits = hashlib.blake2b(predicted.tobytes(), digest_size=16).digest()
    return predicted.dtype.str, predicted.shape, bits
