"""The guide on differences from ``n_jobs=1`` is true, and ``n_jobs=2`` differs in the same way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn.svm
from joblib.externals.loky import get_reusable_executor
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV

from tests.acceptance.searches import flowers

COUNT: list[int] = []

FITS = 2
"""Number of splits; each has one fit per question."""


class CuriousClassifier(ClassifierMixin, BaseEstimator):
    """Scores the answer to a question about the process of the fit."""

    def __init__(self, question: str = "") -> None:
        self.question = question

    def fit(self, X: Any, y: Any) -> CuriousClassifier:
        self.classes_ = np.unique(y)
        self.answer_ = float(QUESTIONS[self.question]())
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])

    def score(self, X: Any, y: Any) -> float:
        return self.answer_


def _counted() -> int:
    COUNT.append(1)
    return len(COUNT)


def _has_thread_of_the_caller() -> bool:
    return any(thread.name == "of the caller" for thread in threading.enumerate())


def _number() -> float:
    # `np.random.rand` itself is a method of the generator and would be pickled with its state.
    return float(np.random.rand())


def _processes() -> int:
    """Return the number of processes that work for this fit, its own included."""
    work = (joblib.delayed(os.getpid)() for _ in range(4))
    return len({os.getpid(), *joblib.Parallel(n_jobs=2)(work)})


ASKED_OF_EACH: Mapping[str, Callable[[], float]] = {
    "patched class": lambda: getattr(sklearn.svm.SVC, "patched", 0),
    "assigned in a module": lambda: getattr(sklearn.svm, "assigned", 0),
    "fits that were counted": _counted,
    "thread of the caller": _has_thread_of_the_caller,
    "processes for one fit": _processes,
}
"""Questions of the search that is fitted in all three ways."""

QUESTIONS = {**ASKED_OF_EACH, "drawn": _number}


@pytest.fixture(scope="module")
def answers(cluster: Any) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the answers of all splits by question, for each of the three ways to fit."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="of the caller", daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn.svm.SVC, "patched", 1, raising=False)
        patch.setattr(sklearn.svm, "assigned", 1, raising=False)
        yield {
            "n_jobs=1": _asked(lambda search: search.fit(*flowers()), n_jobs=1),
            "n_jobs=2": _asked(lambda search: search.fit(*flowers()), n_jobs=2),
            "skygrid": _asked(lambda search: cluster.fit(search, *flowers())),
        }
    end.set()
    thread.join()
    get_reusable_executor().shutdown(wait=True)


def _asked(fit: Callable[[Any], Any], n_jobs: int | None = None) -> dict[str, Any]:
    COUNT.clear()
    search = GridSearchCV(
        CuriousClassifier(), {"question": list(ASKED_OF_EACH)}, cv=FITS, n_jobs=n_jobs, refit=False
    )
    results = fit(search).cv_results_
    scores = [results[f"split{split}_test_score"] for split in range(FITS)]
    answers = {name: list(found) for name, *found in zip(ASKED_OF_EACH, *scores, strict=True)}
    return answers | {"counted by the caller": len(COUNT)}


@pytest.mark.parametrize(
    "question", ["patched class", "assigned in a module", "thread of the caller"]
)
def test_fits_do_not_see_the_callers_process(
    answers: dict[str, dict[str, Any]], question: str
) -> None:
    """Changes in the caller's process are visible to fits with n_jobs=1 only."""
    assert answers["n_jobs=1"][question] == [1, 1]
    assert answers["n_jobs=2"][question] == [0, 0]
    assert answers["skygrid"][question] == [0, 0]


def test_changes_by_fits_do_not_reach_the_caller(answers: dict[str, dict[str, Any]]) -> None:
    """A list that fits append to stays empty in the caller's process, as with loky."""
    counted = {way: found["counted by the caller"] for way, found in answers.items()}
    assert counted == {"n_jobs=1": FITS, "n_jobs=2": 0, "skygrid": 0}


def test_a_fit_starts_no_processes(answers: dict[str, dict[str, Any]]) -> None:
    """Work that a fit gives to joblib runs in the process of the fit, as with loky."""
    question = "processes for one fit"
    assert answers["skygrid"][question] == answers["n_jobs=2"][question] == [1, 1]
    assert min(answers["n_jobs=1"][question]) > 1


def test_the_callers_global_seed_does_not_affect_fits(cluster: Any) -> None:
    """A seed of NumPy's global generator in the caller's process does not affect fits."""
    drawn = [_drawn(lambda search: cluster.fit(search, *flowers())) for _ in range(2)]
    assert drawn[0] != drawn[1]
    drawn = [_drawn(lambda search: search.fit(*flowers())) for _ in range(2)]
    assert drawn[0] == drawn[1]


def _drawn(fit: Callable[[Any], Any]) -> list[float]:
    np.random.seed(0)
    search = GridSearchCV(CuriousClassifier(), {"question": ["drawn"]}, cv=FITS, refit=False)
    return list(fit(search).cv_results_["mean_test_score"])


def test_an_error_carries_the_traceback_of_its_fit_as_text(cluster: Any) -> None:
    """An error of a fit carries the traceback of the fit as a note."""
    search = GridSearchCV(CuriousClassifier("unknown"), {}, cv=FITS, error_score="raise")
    with pytest.raises(KeyError) as caught:
        cluster.fit(search, *flowers())
    assert "QUESTIONS[self.question]" in "".join(caught.value.__notes__)
