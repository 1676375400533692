"""Every private name of scikit-learn that the worker uses.

The names are those of releases 1.5 to `TESTED`. On a newer release skygrid shares no work between
fits and takes no shortcut: it needs `_fit_and_score` alone.

Lists of exact classes, such as ``sklearn.svm._classes.SVC``, stand where they decide: these names
are compared, not used.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import sklearn
from sklearn.base import BaseEstimator
from sklearn.model_selection import _validation
from sklearn.utils import metaestimators

TESTED = (1, 9)
"""Newest release (major, minor) on which all results were compared with scikit-learn's own."""


def is_tested_release() -> bool:
    """Return whether shortcuts and shared fits were tested to change no bit on this release."""
    return tuple(int(part) for part in sklearn.__version__.split(".")[:2]) <= TESTED


# ---- fits ----------------------------------------------------------------------------------------

fit_and_score = _validation._fit_and_score
"""Fits and scores one candidate on one split in a search."""

TAKES_CONTEXT = "callback_ctx" in inspect.signature(fit_and_score).parameters
"""True from scikit-learn 1.9 on, where a search passes callbacks to its fits."""


def remember_parameter_names() -> None:
    """Make scikit-learn read the parameter names of an estimator class from a cache.

    It inspects the constructor's signature for every clone and every parameter that is set, which
    takes longer than many fits.
    """
    if is_tested_release():
        BaseEstimator._get_param_names = classmethod(_parameter_names)


def _parameter_names(kind: type) -> list[str]:
    return list(_names_of(kind, kind.__init__))  # type: ignore[misc]  # a key, not called


@functools.lru_cache(maxsize=1000)
def _names_of(kind: type, _constructor: Any) -> tuple[str, ...]:
    return tuple(_original_param_names.__func__(kind))


_original_param_names: Any = vars(BaseEstimator).get("_get_param_names")


def validate_parameters(estimator: Any) -> None:
    """Raise the error that `fit` would raise for an invalid parameter."""
    estimator._validate_params()


# ---- samples of a split --------------------------------------------------------------------------

safe_indexing: Any = getattr(metaestimators, "_safe_indexing", None)
"""Selects rows of one array, after checks."""


def select_rows_with(select: Callable[..., Any]) -> None:
    """Make scikit-learn's own `safe_split` select rows with this function instead of
    `safe_indexing`.
    """
    metaestimators._safe_indexing = select


def safe_split() -> Callable[..., Any]:
    """Return the function that selects X and y of a split for an estimator."""
    split: Callable[..., Any] = _validation._safe_split
    return split


def split_with(split: Callable[..., Any]) -> None:
    """Make scikit-learn call this function instead of `safe_split`."""
    _validation._safe_split = split


def splits_by_itself() -> bool:
    """Return whether fits call scikit-learn's own `safe_split`."""
    return _validation._safe_split is metaestimators._safe_split


# ---- scorers -------------------------------------------------------------------------------------


def scorers_within(scorer: Any) -> Mapping[str, Any]:
    """Return the scorers of several metrics by name; none for a scorer of one metric."""
    return getattr(scorer, "_scorers", {})


def replace_scorers_within(scorer: Any, scorers: Mapping[str, Any]) -> None:
    """Replace the scorers of several metrics."""
    scorer._scorers = scorers


def scores_predictions(scorer: Any) -> bool:
    """Return whether a scorer passes nothing but the results of `predict` to its metric."""
    return getattr(scorer, "_response_method", None) == "predict"


def metric_of(scorer: Any) -> Callable[..., Any]:
    """Return the metric of a scorer that `make_scorer` made."""
    metric: Callable[..., Any] = scorer._score_func
    return metric


def replace_metric(scorer: Any, metric: Callable[..., Any]) -> None:
    """Replace the metric of a scorer that `make_scorer` made."""
    scorer._score_func = metric


# ---- attributes of estimators --------------------------------------------------------------------

CLONED_ATTRIBUTES = ("_metadata_request", "_skl_callbacks")
"""Attributes, other than parameters, that `clone` copies and that may change a fit."""

OUTPUT_CONFIG = "_sklearn_output_config"
"""Attribute that `set_output` sets and `clone` copies."""

BOOSTED_TREES = "_predictors"
"""Attribute of a fitted HistGradientBoosting: the trees of each iteration."""

BAG_SEEDS = "_seeds"
"""Attribute of a fitted bag: the random state of each estimator."""


def prune_tree(tree: Any) -> None:
    """Prune a grown tree by its `ccp_alpha`, as its `fit` does last."""
    tree._prune_tree()
