"""Scores of repeated predictions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score, check_scoring, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from skygrid.worker.evaluation.contents import RoundTasks, SearchData, SearchWork
from skygrid.worker.evaluation.evaluator import Evaluator
from skygrid.worker.sharing import repeated_scores
from skygrid.worker.sharing.identity import uses_known_metrics
from skygrid.worker.sharing.repeated_scores import RepeatedScores

pytestmark = pytest.mark.sklearn_versions

LABELS = np.array([0, 1, 1, 0])
PREDICTED = np.array([0, 1, 0, 0])


class Counting:
    """Metric that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, labels: Any, predicted: Any, **settings: Any) -> float:
        self.calls += 1
        return float(np.mean(labels == predicted))


def own_accuracy(labels: Any, predicted: Any) -> float:
    return float(np.mean(labels == predicted))


class TestWhatIsScoredAgain:
    def test_equal_predictions_are_scored_once(self) -> None:
        """Another array with the same elements gets the score of the first one."""
        scores, metric = RepeatedScores(list), Counting()
        first = scores.score(metric, LABELS, PREDICTED)
        again = scores.score(metric, LABELS, PREDICTED.copy())
        assert (first, again, metric.calls) == (0.75, 0.75, 1)

    @pytest.mark.parametrize(
        ("labels", "predicted", "settings"),
        [
            (LABELS, np.array([0, 1, 1, 0]), {}),
            (LABELS, PREDICTED.astype(float), {}),
            (LABELS, PREDICTED.reshape(2, 2), {}),
            (LABELS, PREDICTED, {"pos_label": 1}),
            (LABELS.copy(), PREDICTED, {}),
        ],
        ids=["elements", "dtype", "shape", "settings", "labels"],
    )
    def test_different_predictions_are_scored(
        self, labels: Any, predicted: Any, settings: Any
    ) -> None:
        """Other elements, types, shapes, settings or labels are scored separately."""
        scores, metric = RepeatedScores(list), Counting()
        scores.score(metric, LABELS, PREDICTED)
        if predicted.shape == labels.shape:
            scores.score(metric, labels, predicted, **settings)
        else:
            scores.score(metric, labels.reshape(2, 2), predicted, **settings)
        assert metric.calls == 2

    @pytest.mark.parametrize(
        ("predicted", "settings"),
        [
            (PREDICTED.astype(object), {}),
            (PREDICTED.tolist(), {}),
            (np.repeat(PREDICTED, 2)[::2], {}),
            (PREDICTED, {"sample_weight": [object()]}),
        ],
        ids=["objects", "list", "strided", "unknown settings"],
    )
    def test_uncertain_equality_is_always_scored(self, predicted: Any, settings: Any) -> None:
        """Predictions and settings that cannot be compared are scored each time."""
        scores, metric = RepeatedScores(list), Counting()
        for _ in range(2):
            scores.score(metric, LABELS, predicted, **settings)
        assert metric.calls == 2

    def test_a_metric_that_warns_is_called_each_time(self) -> None:
        """Each candidate has the warnings of its own scores."""
        notes: list[Any] = []
        scores = RepeatedScores(lambda: notes)
        with warnings.catch_warnings(record=True):

            def warns(labels: Any, predicted: Any) -> float:
                notes.append("a note")
                return 0.0

            for _ in range(2):
                scores.score(warns, LABELS, PREDICTED)
        assert len(notes) == 2

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """At most MOST_SCORES scores are kept at a time."""
        monkeypatch.setattr(repeated_scores, "MOST_SCORES", 10)
        scores, metric = RepeatedScores(list), Counting()
        for number in range(35):
            scores.score(metric, LABELS, np.full(4, number))
        assert len(scores._known) <= 10

    def test_forget_drops_all_scores(self) -> None:
        """After `forget`, the same predictions are scored again."""
        scores, metric = RepeatedScores(list), Counting()
        scores.score(metric, LABELS, PREDICTED)
        scores.forget()
        scores.score(metric, LABELS, PREDICTED)
        assert metric.calls == 2


class TestKnownMetrics:
    @pytest.mark.parametrize(
        ("scoring", "known"),
        [
            (None, True),
            ("accuracy", True),
            ("roc_auc", True),
            (make_scorer(accuracy_score, normalize=False), True),
            (make_scorer(own_accuracy), False),
            (own_accuracy, False),
        ],
    )
    def test_only_metrics_of_scikit_learn(self, scoring: Any, known: bool) -> None:
        """A function of the user is not known, because it may write into its arguments."""
        assert uses_known_metrics(check_scoring(GaussianNB(), scoring)) == known

    def test_all_of_several_metrics_must_be_known(self) -> None:
        """A scorer of several metrics is known if all of them are."""
        for own, known in ((own_accuracy, False), (accuracy_score, True)):
            scoring = {"one": "accuracy", "other": make_scorer(own)}
            search = GridSearchCV(GaussianNB(), {}, scoring=scoring, refit=False)
            found = search._get_scorers()
            scorer = found[0] if isinstance(found, tuple) else found
            assert uses_known_metrics(scorer) == known


class Remembering(ClassifierMixin, BaseEstimator):
    """Classifier that records the objects that it is fitted on."""

    seen: list[tuple[int, int]] = []

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def fit(self, X: Any, y: Any) -> Remembering:
        self.classes_ = np.unique(y)
        self.seen.append((id(X), id(y)))
        self.kept_ = X  # so that no other object gets its id
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X), dtype=int)


def evaluator(X: Any, y: Any) -> Evaluator:
    work = SearchWork(
        estimator=Remembering(),
        scorer=check_scoring(Remembering()),
        return_train_score=False,
        error_score=np.nan,
        verbose=0,
    )
    half = np.arange(len(X)) < len(X) // 2
    splits = [(np.flatnonzero(half), np.flatnonzero(~half))]
    data = SearchData(X=X, y=y, fit_params={}, score_params={})
    return Evaluator(
        data, work, RoundTasks(candidates=[{"number": 1}, {"number": 2}], splits=splits)
    )


@pytest.mark.parametrize(("limit", "between_groups"), [(1 << 20, True), (0, False)])
def test_samples_are_taken_once(
    limit: int, between_groups: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All fits of a group get the same samples; the next group does so if these are small."""
    monkeypatch.setattr("skygrid.worker.evaluation.samples.KEPT_BYTES", limit)
    monkeypatch.setattr(Remembering, "seen", [])
    X = np.arange(40.0).reshape(20, 2)
    work = evaluator(X, np.arange(20) % 2)
    for _ in range(2):
        with work.samples_of(0).asked_once():
            assert [work.evaluate(0, 0, member, 0).status for member in (0, 1)] == ["scored"] * 2
    groups = Remembering.seen[:2], Remembering.seen[2:]
    assert [len(set(group)) for group in groups] == [1, 1]
    assert (groups[0] == groups[1]) or not between_groups
    assert bool(work.samples_of(0)._samples) == between_groups
    if between_groups:
        work.evaluate(0, 0, 0, 0)  # outside a group it gets its own
        assert Remembering.seen[-1] != groups[1][-1]
