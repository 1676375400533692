"""Mistakes of searches that scikit-learn accepts, for `skygrid check`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.utils.multiclass import type_of_target

from skygrid.sklearn_search.sklearn_private import last_step, methods_needed

MANY_CANDIDATES = 1000
"""Candidates of a grid from which on the check says how they come about."""

SCALED = 1e-6
"""Largest distance of a standardised column's mean from 0, and of its deviation from 1."""

MOST_VALUES = 50_000_000
"""Values of X above which it is not examined, because that would take seconds."""


def classic_mistakes(
    search: Any,
    X: Any,
    y: Any,
    fit_params: Mapping[str, Any],
    candidate: Mapping[str, Any],
    splits: Sequence[tuple[Any, Any]],
) -> list[str]:
    """Return a sentence about each likely mistake, with the remedy.

    Parameters
    ----------
    search : BaseSearchCV
        Unfitted.
    X, y : array-like
    fit_params : mapping
    candidate : mapping
        The first candidate.
    splits : sequence of (train, test)
        Indices of the splits.
    """
    checks: tuple[Callable[[], Iterator[str]], ...] = (
        lambda: _large_grid(search),
        lambda: _ignored_groups(search, fit_params),
        lambda: _single_class(y, splits),
        lambda: _missing_values(search, X),
        lambda: _scaled_outside(X),
        lambda: _missing_response(search, candidate),
    )
    found: list[str] = []
    for check in checks:
        try:
            found += check()
        except Exception:  # noqa: BLE001  # unusual data and estimators: no advice
            continue
    return found


def _large_grid(search: Any) -> Iterator[str]:
    grid = getattr(search, "param_grid", None)
    for one in [grid] if isinstance(grid, Mapping) else grid or ():
        sizes = {name: len(values) for name, values in one.items() if len(values) > 1}
        size = math.prod(sizes.values())
        if size >= MANY_CANDIDATES:
            factors = " x ".join(f"{count} {name}" for name, count in sizes.items())
            yield (
                f"the grid has {size:,} candidates: {factors}. param_distributions with n_iter "
                "tries a sample of them, HalvingGridSearchCV drops bad ones early"
            )


def _ignored_groups(search: Any, fit_params: Mapping[str, Any]) -> Iterator[str]:
    cv = getattr(search, "cv", None)
    name = type(cv).__name__
    usual = cv is None or isinstance(cv, int) or type(cv).__module__.startswith("sklearn.")
    if "groups" in fit_params and usual and "Group" not in name:
        yield (
            f"the data have groups, but cv={cv!r} does not read them, so that one group can be in "
            "training and test data: cv = GroupKFold(5)"
        )


def _single_class(y: Any, splits: Sequence[tuple[Any, Any]]) -> Iterator[str]:
    if y is None or type_of_target(y) not in ("binary", "multiclass"):
        return
    labels = np.asarray(y)
    for part, place in (("trains", 0), ("is tested", 1)):
        lone = [n for n, split in enumerate(splits, 1) if len(np.unique(labels[split[place]])) == 1]
        if lone:
            yield (
                f"split {lone[0]} of {len(splits)} {part} on one class only: "
                "cv = StratifiedKFold(5, shuffle=True, random_state=0)"
            )
            return


def _numbers(X: Any) -> Any:
    """Return X as a dense array of floats, or None."""
    if hasattr(X, "tocsr") or math.prod(getattr(X, "shape", (0,))) > MOST_VALUES:
        return None
    values = np.asarray(X)
    return values if values.ndim == 2 and values.dtype.kind == "f" else None


def _missing_values(search: Any, X: Any) -> Iterator[str]:
    values = _numbers(X)
    if values is None or _allows_nan(search.estimator):
        return
    columns = np.flatnonzero(np.isnan(values).any(axis=0))
    if columns.size:
        names = getattr(X, "columns", None)
        first = columns[0] if names is None else names[columns[0]]
        yield (
            f"X has NaN in {columns.size} of {values.shape[1]} columns (the first: {first}), which "
            f"{_first_step(search.estimator)} does not accept: put a SimpleImputer() before it"
        )


def _allows_nan(estimator: Any) -> bool:
    steps = getattr(estimator, "steps", None)
    first = steps[0][1] if steps else estimator
    if hasattr(first, "__sklearn_tags__"):  # since scikit-learn 1.6
        return bool(first.__sklearn_tags__().input_tags.allow_nan)
    return bool(first._get_tags()["allow_nan"])


def _first_step(estimator: Any) -> str:
    steps = getattr(estimator, "steps", None)
    return type(steps[0][1] if steps else estimator).__name__


def _scaled_outside(X: Any) -> Iterator[str]:
    values = _numbers(X)
    if values is None or values.shape[1] < 2 or values.shape[0] < 3:
        return
    means, deviations = values.mean(axis=0), values.std(axis=0)
    if (np.abs(means) < SCALED).all() and (np.abs(deviations - 1) < SCALED).all():
        yield (
            "X is standardised already. A scaler that was fitted outside the search has seen the "
            "test data of every split: make it the first step, make_pipeline(StandardScaler(), ...)"
        )


def _missing_response(search: Any, candidate: Mapping[str, Any]) -> Iterator[str]:
    scoring = search.scoring
    names = [scoring] if isinstance(scoring, str) else scoring
    if isinstance(names, Mapping) or not isinstance(names, list | tuple | set):
        return
    estimator = clone(search.estimator).set_params(**clone(dict(candidate), safe=False))
    for name in names:
        scorer = get_scorer(name)
        methods = methods_needed(scorer)
        if "default" not in methods and not any(hasattr(estimator, one) for one in methods):
            kind = type(last_step(estimator)).__name__
            yield (
                f"scoring {name!r} needs {' or '.join(methods)}, which {kind} does not have with "
                "these parameters, so that scores are NaN"
            )
