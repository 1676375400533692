"""Searches that can be distributed are recognised without fitting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from sklearn.base import BaseEstimator, _fit_context
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # opens the next import
from sklearn.feature_selection import RFECV, SequentialFeatureSelector
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)
from sklearn.model_selection import GridSearchCV as Renamed
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import skygrid
from skygrid.errors import UsageError
from skygrid.search_file.searches import comes_to_base_fit, objection

# ---- classes that reach BaseSearchCV.fit -------------------------------------------------------


def logged(fit: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fit)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        return fit(self, *args, **kwargs)

    return wrapper


def call_up(search: Any, X: Any, y: Any) -> Any:
    return super(type(search), search).fit(X, y)


class Logging:
    def fit(self, X: Any, y: Any = None) -> Any:
        return super().fit(X, y)  # type: ignore[misc]  # a mixin


class BySuper(GridSearchCV):
    def fit(self, X: Any, y: Any = None) -> Any:
        return super().fit(X, y)


class ByDecorator(GridSearchCV):
    @logged
    def fit(self, X: Any, y: Any = None) -> Any:
        return super().fit(X, y)


class ByContext(HalvingGridSearchCV):
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Any:
        return super().fit(X, y)


class ByMethod(GridSearchCV):
    def fit(self, X: Any, y: Any = None) -> Any:
        return self._search(X, y)

    def _search(self, X: Any, y: Any) -> Any:
        def search() -> Any:
            return super(ByMethod, self).fit(X, y)

        return search()


class ByFunction(GridSearchCV):
    def fit(self, X: Any, y: Any = None) -> Any:
        return call_up(self, X, y)


class ByName(GridSearchCV):
    def fit(self, X: Any, y: Any = None) -> Any:
        return Renamed.fit(self, X, y)


class ByAttribute(GridSearchCV):
    def fit(self, X: Any, y: Any = None) -> Any:
        return getattr(super(), "fit")(X, y)  # noqa: B009  # the way that is tested


class ByOrder(GridSearchCV):
    def fit(self, X: Any, y: Any = None) -> Any:
        return type(self).__mro__[1].fit(self, X, y)


class ByPartial(GridSearchCV):
    fit = functools.partialmethod(BySuper.fit)  # type: ignore[assignment]


class ByMixin(Logging, GridSearchCV):
    pass


class Unreadable(GridSearchCV):
    fit = len


COMING = [
    GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV,
    BySuper, ByDecorator, ByContext, ByMethod, ByFunction, ByName, ByAttribute, ByOrder, ByPartial,
    ByMixin, Unreadable,
]  # fmt: skip


@pytest.mark.parametrize("kind", COMING)
def test_every_way_to_base_fit_is_recognised(kind: type) -> None:
    """A class whose fit may call that of its base is accepted, in any style."""
    assert comes_to_base_fit(kind)


# ---- classes that do not -----------------------------------------------------------------------


class FitsItself(GridSearchCV):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)

    @logged
    def fit(self, X: Any, y: Any = None) -> Any:
        self._loop(X, y)
        return self

    def _loop(self, X: Any, y: Any) -> None:
        self.fitted_ = [self.estimator.fit(X, y) for _ in self.param_grid]


class FitsAnother(GridSearchCV):
    def fit(self, X: Any, y: Any = None) -> Any:
        self.inner_ = GridSearchCV(self.estimator, self.param_grid).fit(X, y)
        return self


class UpToOneThatFitsItself(FitsItself):
    def fit(self, X: Any, y: Any = None) -> Any:
        return super().fit(X, y)


class MixedWithOneThatFitsItself(Logging, FitsItself):
    pass


GOING_ASTRAY = [FitsItself, FitsAnother, UpToOneThatFitsItself, MixedWithOneThatFitsItself]


@pytest.mark.parametrize("kind", GOING_ASTRAY)
def test_a_class_that_fits_by_itself_is_recognised(kind: type) -> None:
    """A class whose fit never reaches BaseSearchCV.fit is recognised by its code."""
    assert not comes_to_base_fit(kind)


# ---- messages ----------------------------------------------------------------------------------


class OtherSearchCV(BaseEstimator):
    """Search that does not derive from scikit-learn's base class."""

    def __init__(self, estimator: Any = None, cv: Any = None) -> None:
        self.estimator, self.cv = estimator, cv

    def fit(self, X: Any, y: Any = None) -> Any:
        raise AssertionError("nothing may be fitted")


REMEDY = (
    "so its fits cannot be distributed; fit it with its own fit(X, y), in a script: "
    "skygrid exec SCRIPT runs its joblib loops on nodes, and so does cluster.joblib()"
)
ALONE = f"cross-validates by itself, {REMEDY}"

REFUSED: dict[str, tuple[Any, str]] = {
    "none": (None, "is None; write e.g. GridSearchCV(estimator, param_grid)"),
    "list": ([1], "is a list; write e.g. GridSearchCV(estimator, param_grid)"),
    "search class": (GridSearchCV, "is the class GridSearchCV, not an instance; write GridSearch"),
    "class": (SVC, "is the class SVC, which is no search; write e.g. GridSearchCV(estimator, par"),
    "estimator": (SVC(), "is an SVC, which is no search; write e.g. GridSearchCV(SVC(...), param"),
    "around": (
        make_pipeline(SVC(), GridSearchCV(SVC(), {})),
        "is a Pipeline around a GridSearchCV; write GridSearchCV(Pipeline(...), ...) instead",
    ),
    "rfecv": (RFECV(SVC()), f"is an RFECV, which {ALONE}"),
    "selector": (
        SequentialFeatureSelector(SVC()),
        f"is a SequentialFeatureSelector, which {ALONE}",
    ),
    "own cv": (LogisticRegressionCV(), f"is a LogisticRegressionCV, which {ALONE}"),
    "other search": (OtherSearchCV(), f"is an OtherSearchCV, which {ALONE}"),
    "own way": (
        FitsItself(SVC(), {}),
        f"is a FitsItself, whose fit does not call super().fit(), {REMEDY}",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_starts(name: str) -> None:
    """skygrid.fit refuses other objects with a remedy before it reads the config."""
    value, words = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        skygrid.fit(value, [[0.0]], [0], on="ssh", config="/nowhere/skygrid.toml")
    assert f"the search {words}" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_a_cluster(name: str) -> None:
    """A cluster refuses other objects before it starts nodes."""
    value, words = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        skygrid.cluster(on="local").fit(value, [[0.0]], [0])
    assert words in str(caught.value)


def test_a_search_is_accepted() -> None:
    """A search that can be distributed raises no objection."""
    assert objection(GridSearchCV(SVC(), {"C": [1]})) is None


def test_a_misspelt_option_is_no_fit_parameter() -> None:
    """A keyword that resembles an option is refused, so that a limit on cost is not lost."""
    with pytest.raises(UsageError, match="no option 'max_costs'; did you mean 'max_cost'"):
        skygrid.fit(GridSearchCV(SVC(), {}), [[0.0]], [0], max_costs=5, config="/nowhere.toml")
