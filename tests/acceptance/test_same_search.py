"""A search keeps its class, its copies and its inner searches while it is fitted."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
import traceback
from typing import Any

import numpy as np
import pytest
from sklearn.base import ClassifierMixin, clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, ParameterGrid
from sklearn.svm import SVC

import skygrid
from tests.acceptance.doubles import SearchByName, ThresholdClassifier
from tests.acceptance.sameness import differences
from tests.acceptance.searches import Job, Row, assert_same_answer, flowers, rows

pytestmark = pytest.mark.sklearn_versions

GRID = {"C": [0.01, 1]}


def job(kind: Any, estimator: Any = None, grid: Any = None, **options: Any) -> Job:
    estimator = SVC() if estimator is None else estimator
    return Job(kind(estimator, grid or GRID, **{"cv": 3} | options), *flowers())


class Introspective(GridSearchCV):
    """Records its class, attributes and copies before and after its round."""

    def _run_search(self, evaluate_candidates: Any) -> None:
        seen = [self._noted()]
        evaluate_candidates(ParameterGrid(self.param_grid))
        self.seen_ = [*seen, self._noted()]

    def _noted(self) -> list[Any]:
        copies = pickle.loads(pickle.dumps(self)), copy.deepcopy(self), clone(self)
        names = sorted(vars(self))
        return [type(self) is Introspective, [type(one) for one in copies], names]


class Final(GridSearchCV):
    """Forbids subclasses."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise TypeError(f"{cls.__name__} is a subclass of a final class")


class FitsTwice(GridSearchCV):
    """Searches half of the samples, then all of them."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        super().fit(X[::2], y[::2], **params)
        self.first_results_ = self.cv_results_
        return super().fit(X, y, **params)


class FitsOthers(GridSearchCV):
    """Fits a copy of itself and another search, in a thread, between its rounds."""

    def _run_search(self, evaluate_candidates: Any) -> None:
        evaluate_candidates([{"C": 1}])
        plain = GridSearchCV(SVC(), {"C": [1, 2, 3]}, cv=2)
        thread = threading.Thread(target=plain.fit, args=flowers())
        thread.start()
        thread.join()
        copied = GridSearchCV(**clone(self).get_params(deep=False)).fit(*flowers())
        self.others_ = [plain, copied]
        evaluate_candidates([{"C": 2}])


class OneByOne(GridSearchCV):
    """Calls ``super().fit`` with keywords and evaluates one candidate at a time."""

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, **params: Any) -> Any:
        self.asked_ = 0
        super().fit(X=X, y=y, groups=groups, **params)
        return self

    def _run_search(self, evaluate_candidates: Any) -> None:
        for candidate in ParameterGrid(self.param_grid):
            self.asked_ = len(evaluate_candidates([candidate])["params"])


class Cloneless(ThresholdClassifier):
    """Cannot be cloned, because its constructor changes its argument."""

    def __init__(self, level: Any = 1) -> None:
        self.level = float(level) + 1


@rows(
    introspective=(
        "A search and its copies keep class and attributes while it runs.",
        lambda: job(Introspective),
    ),
    final=("A class that allows no subclasses is supported.", lambda: job(Final)),
    by_name=(
        "A fit that calls another class's fit by name runs on nodes.",
        lambda: job(SearchByName),
    ),
    fits_twice=("A fit that searches twice has the answers of both.", lambda: job(FitsTwice)),
    fits_others=(
        "Searches that are fitted within a search are left alone.",
        lambda: job(FitsOthers),
    ),
    one_by_one=("A search may ask for one candidate at a time.", lambda: job(OneByOne)),
    no_jobs=("n_jobs=0 is refused.", lambda: job(GridSearchCV, n_jobs=0)),
    no_jobs_halving=(
        "n_jobs=0 is refused after halving.",
        lambda: job(HalvingGridSearchCV, n_jobs=0),
    ),
    cloneless=(
        "A failing clone leaves the attributes that scikit-learn leaves.",
        lambda: job(GridSearchCV, Cloneless(), {"level": [1]}),
    ),
    cloneless_halving=(
        "A failing clone in a halving search leaves scikit-learn's attributes.",
        lambda: job(HalvingGridSearchCV, Cloneless(), {"level": [1, 2, 3]}),
    ),
)
def test_search_classes_of_the_user(row: Row, cluster: Any, capfd: Any) -> None:
    """Methods of a search class behave as under scikit-learn."""
    assert_same_answer(cluster, row, capfd)


def test_a_refit_function_clones_the_search(cluster: Any) -> None:
    """A clone made by a refit function has the class of the search."""
    kinds = []

    def choose(results: Any) -> int:
        kinds.append(type(clone(search)))
        return 1

    search = OneByOne(SVC(), GRID, cv=3, refit=choose)
    assert cluster.fit(search, *flowers()).best_params_ == {"C": 1}
    assert kinds == [OneByOne]


def test_a_search_runs_through_a_wrapped_fit(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search runs through a wrapper that another library puts around ``fit``."""
    original = GridSearchCV.fit
    called = []

    @functools.wraps(original)
    def logged(self: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(type(self).__name__)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(GridSearchCV, "fit", logged)
    assert hasattr(cluster.fit(GridSearchCV(SVC(), GRID, cv=3), *flowers()), "cv_results_")
    assert called == ["GridSearchCV"]


def test_scikit_learn_is_unchanged_after_a_search(cluster: Any) -> None:
    """After a search, scikit-learn's own ``fit`` runs no code of skygrid, even if ours failed."""
    with pytest.raises(ValueError, match="n_jobs"):
        cluster.fit(GridSearchCV(SVC(), GRID, n_jobs=0), *flowers())
    with pytest.raises(ValueError, match="n_jobs") as caught:
        GridSearchCV(SVC(), GRID, n_jobs=0).fit(*flowers())
    files = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not [file for file in files[1:] if "skygrid" in file.rpartition("site-packages")[2]]


class Weighed(LogisticRegression, ClassifierMixin):
    """Takes a fit parameter with the name of an option of skygrid."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, retries: int = 0) -> Any:
        self.retries_ = retries
        return super().fit(X, y, sample_weight)


@pytest.mark.usefixtures("_doubles_by_value")
def test_fit_parameters_are_keywords() -> None:
    """skygrid.fit takes fit parameters by keyword, and those with names of options in a mapping."""
    X, y = flowers()
    weight = np.linspace(0.1, 1, len(X))
    theirs = GridSearchCV(Weighed(), GRID, cv=3).fit(X, y, sample_weight=weight, retries=7)

    ours = skygrid.fit(
        GridSearchCV(Weighed(), GRID, cv=3),
        X,
        y,
        sample_weight=weight,
        concurrency=1,
        retries=1,
        fit_params={"retries": 7},
    )

    assert ours.best_estimator_.retries_ == 7
    assert not differences(ours, theirs)
