"""Facts about a search for its record: class, metric, the estimator's own parameters, data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.base import is_classifier, is_regressor

from skygrid.plan.spec import SearchSpec
from skygrid.reports.plain_values import one_line, plain_parameter, shorten
from skygrid.reports.run_record import SearchFacts

from .sklearn_private import is_negated, score_function

MOST_TEXT = 300
"""Maximum number of characters of the estimator in one line."""


def search_facts(spec: SearchSpec) -> SearchFacts:
    """Return the facts about a search, before it runs."""
    search = spec.search
    estimator = getattr(search, "estimator", None)
    refit = getattr(search, "refit", None)
    return SearchFacts(
        kind=type(search).__name__,
        estimator=shorten(one_line(_repr(estimator)), MOST_TEXT),
        metric=metric_name(getattr(search, "scoring", None), estimator),
        ranked_by=refit if isinstance(refit, str) else "",
        defaults=_defaults(estimator, _searched(search)),
        data=_data(spec),
    )


def metric_name(scoring: Any, estimator: Any) -> str:
    """Return the name of the only metric of a search; empty for several, or if it has none.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> metric_name(None, SVC())
    'accuracy'
    >>> metric_name("roc_auc", SVC())
    'roc_auc'
    """
    if isinstance(scoring, str):
        return scoring
    if scoring is None:
        return _own_metric(estimator)
    if not callable(scoring):
        return ""
    score_func = score_function(scoring)
    if score_func is None:
        return str(getattr(scoring, "__name__", ""))
    negative = "neg_" if is_negated(scoring) else ""
    return negative + str(getattr(score_func, "__name__", ""))


def _own_metric(estimator: Any) -> str:
    """Return the metric of ``estimator.score``, if it is scikit-learn's for its kind."""
    last = estimator
    while (steps := getattr(last, "steps", None)) and not isinstance(last, type):
        last = steps[-1][1]
    module = getattr(getattr(type(last), "score", None), "__module__", "")
    if module != "sklearn.base":
        return ""
    return "accuracy" if is_classifier(last) else "r2" if is_regressor(last) else ""


def _searched(search: Any) -> set[str]:
    """Return the names of the parameters that a search varies, as far as its attributes tell."""
    names: set[str] = set()
    for attribute in ("param_grid", "param_distributions"):
        given = getattr(search, attribute, None)
        for one in [given] if isinstance(given, Mapping) else given or ():
            names.update(map(str, one))
    return names


def _defaults(estimator: Any, names: Iterable[str]) -> dict[str, Any]:
    if not hasattr(estimator, "get_params"):
        return {}
    own = estimator.get_params(deep=True)
    return {
        name: plain_parameter(own[name])
        for name in sorted(names)
        if name in own and not hasattr(own[name], "get_params")
    }


def _data(spec: SearchSpec) -> dict[str, str]:
    parts = {"X": spec.X, "y": spec.y, **spec.fit_params}
    if spec.holdout is not None:
        parts["holdout X"] = spec.holdout[0]
    return {name: size_text(value) for name, value in parts.items() if value is not None}


def size_text(value: Any) -> str:
    """Return kind and size of an array, a table or a list, as ``DataFrame, 150 x 4``."""
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    dtype = getattr(value, "dtype", None)
    if isinstance(shape, tuple) and all(isinstance(one, int) for one in shape):
        size = " x ".join(f"{one:,}" for one in shape)
        return f"{kind}, {size}, {dtype}" if dtype is not None else f"{kind}, {size}"
    return f"{kind}, {len(value):,}" if hasattr(value, "__len__") else kind


def _repr(estimator: Any) -> str:
    try:
        return repr(estimator)
    except Exception as error:  # noqa: BLE001  # a user's repr may raise anything
        return f"{type(estimator).__name__}, whose repr raised {type(error).__name__}"
