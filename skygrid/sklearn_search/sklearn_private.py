"""Every private name of scikit-learn that the driver uses, on releases 1.5 to 1.9.

Most functions are steps of `BaseSearchCV.fit`, in its order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import CellType
from typing import Any

from sklearn.metrics import _scorer
from sklearn.model_selection import _search, _validation
from sklearn.model_selection._search_successive_halving import BaseSuccessiveHalving

CHECKS_CV_ITSELF = hasattr(_search.BaseSearchCV, "_check_input_parameters")
"""True from scikit-learn 1.9 on: `BaseSearchCV.fit` keeps the checked splitter as an attribute."""

HAS_CALLBACKS = hasattr(_search.BaseSearchCV, "set_callbacks")
"""True from scikit-learn 1.9 on: estimators may carry fit callbacks."""


# ---- the body of `fit` ---------------------------------------------------------------------------


def _cell_of_fit() -> CellType:
    """Return the closure cell in which `BaseSearchCV.fit` holds its body.

    ``fit`` is a wrapper that validates parameters, then calls the function in this cell. Changing
    the cell reaches every caller, even one with a reference to ``fit``, and leaves the class
    untouched.
    """
    wrapper: Any = vars(_search.BaseSearchCV)["fit"]
    while hasattr(wrapper.__wrapped__, "__wrapped__"):  # wrappers of other libraries
        wrapper = wrapper.__wrapped__
    cells: tuple[CellType, ...] = wrapper.__closure__
    return next(cell for cell in cells if cell.cell_contents is wrapper.__wrapped__)


_CELL = _cell_of_fit()
BODY_OF_FIT: Callable[..., Any] = _CELL.cell_contents
"""The body of `BaseSearchCV.fit`."""


def fit_with(body: Callable[..., Any]) -> None:
    """Make `BaseSearchCV.fit` call this function in place of its body, in all threads."""
    _CELL.cell_contents = body


def fits_once(kind: Any) -> bool:
    """Return whether ``fit`` of a search class is known to call `BaseSearchCV.fit` only once."""
    module: str = kind.fit.__module__
    return module.startswith("sklearn.")


def decides_rounds(kind: Any) -> bool:
    """Return whether scikit-learn's own methods decide on the rounds of a search class."""
    return fits_once(kind) and kind._run_search.__module__.startswith("sklearn.")


# ---- steps before the rounds ---------------------------------------------------------------------


def callbacks_of(estimator: Any) -> Sequence[Any]:
    """Return the fit callbacks that an estimator carries."""
    callbacks: Sequence[Any] = getattr(estimator, "_skl_callbacks", ())
    return callbacks


def scorers_of(search: Any) -> tuple[Any, str]:
    """Return the search's scorer, a single callable, and the name of the metric for the refit."""
    scorers, refit_metric = search._get_scorers()
    return scorers, refit_metric


def score_function(scorer: Any) -> Any:
    """Return the metric's function in a scorer that ``make_scorer`` made; None for another one."""
    return getattr(scorer, "_score_func", None)


def is_negated(scorer: Any) -> bool:
    """Return whether a scorer negates its metric, of which less is better."""
    sign: float = getattr(scorer, "_sign", 1)
    return sign < 0


def methods_needed(scorer: Any) -> Sequence[str]:
    """Return the methods of which a scorer calls the first that the estimator has."""
    methods: str | Sequence[str] = getattr(scorer, "_response_method", "predict")
    return [methods] if isinstance(methods, str) else methods


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline; any other estimator itself."""
    return getattr(estimator, "_final_estimator", estimator)


def named_scorers(scorer: Any) -> dict[str, Any] | None:
    """Return the scorers of several metrics by name; None for the scorer of one metric."""
    multimetric = isinstance(scorer, _scorer._MultimetricScorer)
    return scorer._scorers if multimetric else None


def is_metric_scorer(scorer: Any) -> bool:
    """Return whether a scorer was made from one metric, and so returns one number."""
    return isinstance(scorer, _scorer._Scorer)


def routed_params(search: Any, X: Any, params: Mapping[str, Any]) -> Any:
    """Return the parameters of ``fit``, routed to estimator, scorer and splitter."""
    return search._get_routed_params_for_fit(_validation._check_method_params(X, params=params))


def begin_callbacks(search: Any, X: Any, y: Any) -> dict[str, Any]:
    """Begin scikit-learn's tree of tasks; return the argument with which `run_search` passes it on.

    Halving needs the tree, although it has no callbacks.
    """
    if not HAS_CALLBACKS:
        return {}
    context = search._init_callback_context(max_subtasks=1 + (search.refit is not False))
    begun = context.call_on_fit_task_begin(estimator=search, X=X, y=y, metadata=None)
    return {"callback_ctx": begun}


def keep_splitter(search: Any, splitter: Any, X: Any, y: Any, params: Mapping[str, Any]) -> None:
    """Check the splitter and keep it where the search does."""
    if CHECKS_CV_ITSELF:
        search._checked_cv_orig = splitter
        search._check_input_parameters(X=X, y=y, split_params=params)


# ---- rounds --------------------------------------------------------------------------------------


def run_search(
    search: Any, evaluate_candidates: Callable[..., Any], context: Mapping[str, Any]
) -> None:
    """Let the search decide on its rounds, with the context of callbacks if its class takes it."""
    if "callback_ctx" not in inspect.signature(search._run_search).parameters:
        context = {}
    search._run_search(evaluate_candidates, **context)


report_failures = _validation._warn_or_raise_about_fit_failures
"""Warns of failed fits; raises if all failed. Takes the results of fits and `error_score`."""

insert_error_scores = _validation._insert_error_scores
"""Completes the scores of failed fits of a callable scorer. Takes the same arguments."""


def format_results(
    search: Any,
    candidates: Sequence[Any],
    n_splits: int,
    out: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return ``cv_results_``."""
    results: dict[str, Any] = search._format_results(candidates, n_splits, out, more)
    return results


def column_of_one_score(search: Any) -> str | None:
    """Return the column of ``cv_results_`` that scikit-learn lacks if fits have several scores.

    None if the search may end without such a column. The scorer is ``estimator.score``.
    """
    choose = type(search)._select_best_index
    if choose is BaseSuccessiveHalving._select_best_index:
        return "mean_test_score"  # after each round, also without a refit
    refits = bool(search.refit) and not callable(search.refit)
    return "rank_test_score" if refits and choose is _CHOOSE else None


_CHOOSE = _search.BaseSearchCV._select_best_index


# ---- steps after the rounds ----------------------------------------------------------------------


def check_refit(search: Any, test_scores: Mapping[str, Any]) -> None:
    """Refuse a ``refit`` that names none of the metrics."""
    search._check_refit_for_multimetric(test_scores)


def best_index(search: Any, refit_metric: str, results: Mapping[str, Any]) -> Any:
    """Return the index of the best candidate."""
    return search._select_best_index(search.refit, refit_metric, results)
