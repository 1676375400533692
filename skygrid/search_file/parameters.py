"""The shape of `param_grid` and `param_distributions`: dicts of names and values to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skygrid.search_file.parameter_names import check_parameter_names
from skygrid.user_code.source import Place, describe


def check_grid(grid: Any, estimator: Any, place: Place) -> None:
    """Refuse a `param_grid` that `GridSearchCV` could not run over this estimator.

    Raises
    ------
    SearchFileError
        It is no dict or list of dicts, a value is no sequence, or a parameter does not exist.
    """
    _check_space(grid, estimator, place, may_sample=False)


def check_distributions(distributions: Any, estimator: Any, place: Place) -> None:
    """Refuse `param_distributions` that `RandomizedSearchCV` could not run over this estimator.

    Raises
    ------
    SearchFileError
        As for `check_grid`; values may also be distributions with an ``rvs`` method.
    """
    _check_space(distributions, estimator, place, may_sample=True)


def _check_space(space: Any, estimator: Any, place: Place, *, may_sample: bool) -> None:
    grids = _dicts(space, place)
    for index, grid in enumerate(grids):
        for name, value in grid.items():
            # A fast path for the usual values, for lists of a hundred thousand dicts.
            if type(value) in {list, tuple, range} and len(value) and type(name) is str:
                continue
            here = place if grids is not space else place.part(f"[{index}]")
            _check_entry(name, value, here, may_sample=may_sample)
    check_parameter_names(grids, estimator, place, listed=grids is space)


def _dicts(space: Any, place: Place) -> Sequence[dict[Any, Any]]:
    example = "write e.g. {'C': [0.1, 1, 10]}"
    if isinstance(space, dict):
        return [space]
    if isinstance(space, Mapping):
        raise place.mistake(f"is {describe(space)}", "write dict(...) around it")
    if isinstance(space, Iterator):
        raise place.mistake("is an iterator, which can be read only once", "write list(...)")
    if not isinstance(space, list | tuple):
        raise place.mistake(f"is {describe(space)}, not a dict or a list of dicts", example)
    if not space:
        raise place.mistake("is an empty list, so there is nothing to fit", example)
    for index, grid in enumerate(space):
        if not isinstance(grid, dict):
            raise place.part(f"[{index}]").mistake(f"is {describe(grid)}, not a dict", example)
    return space


def _check_entry(name: Any, value: Any, place: Place, *, may_sample: bool) -> None:
    if not isinstance(name, str):
        raise place.mistake(
            f"has {describe(name)} as a key", "write the parameter's name as a string, e.g. 'C'"
        )
    if hasattr(value, "rvs"):
        if may_sample and not isinstance(value, type):
            return
        problem, remedy = _misplaced_distribution(value)
    else:
        problem, remedy = _value_problem(value, may_sample=may_sample)
    if problem:
        raise place.part(f"[{name!r}]").mistake(problem, remedy)


def _misplaced_distribution(value: Any) -> tuple[str, str]:
    if isinstance(value, type):
        return f"is {describe(value)}, not an instance", f"write {value.__name__}(...)"
    return "is a distribution", "name the dict 'param_distributions', or write a list of values"


def _value_problem(value: Any, *, may_sample: bool) -> tuple[str, str]:
    """Return the problem of one parameter's values and its remedy; empty if there is none."""
    if isinstance(value, str):
        return f"is the string {describe(value)}", f"write [{describe(value)}]"
    if isinstance(value, np.ndarray):
        if value.ndim != 1:
            return f"is an array of {value.ndim} dimensions", "write a one-dimensional one"
    elif isinstance(value, Iterator):
        return "is an iterator, which can be read only once", "write list(...) around it"
    elif isinstance(value, set | frozenset):
        return "is a set, which has no order", "write a list"
    elif isinstance(value, Mapping):
        return f"is {describe(value)}", "write a list of values"
    elif not _is_sequence(value, may_sample=may_sample):
        wrapped = describe(value) if _is_plain(value) else "..."
        if hasattr(value, "__len__") or hasattr(value, "__iter__"):
            return f"is {describe(value)}, not a list", "write list(...) around it"
        return f"is {describe(value)}, not a list of values", f"write [{wrapped}]"
    if len(value) == 0:
        return "is empty, so there is nothing to try", "list at least one value"
    return "", ""


def _is_sequence(value: Any, *, may_sample: bool) -> bool:
    if isinstance(value, Sequence):
        return True
    # A randomized search indexes the values, so a pandas Series will do.
    return may_sample and hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float)
