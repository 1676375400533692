"""Checks of the optional names of a search file."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from skygrid.user_code.source import Place, describe

_LARGEST_SEED = 2**32 - 1


def check_cv(cv: Any, place: Place) -> Any:
    """Return `cv`; an iterator of splits as a list, as scikit-learn would make it.

    Raises
    ------
    SearchFileError
        It is no number of folds from 2, no splitter and no list of (train, test) pairs.
    """
    example = "write a number of folds such as 5, or a splitter such as KFold(5)"
    if cv is None:
        return cv
    if isinstance(cv, type):
        raise place.mistake(f"is {describe(cv)}, not an instance", f"write {cv.__name__}()")
    if isinstance(cv, bool | np.bool_ | str | bytes | Mapping):
        raise place.mistake(f"is {describe(cv)}", example)
    if isinstance(cv, numbers.Integral):
        if cv < 2:
            raise place.mistake(f"is {cv}, but a split needs at least 2 folds", example)
        return cv
    if hasattr(cv, "split"):
        return cv
    if isinstance(cv, numbers.Number) or not isinstance(cv, Iterable):
        raise place.mistake(f"is {describe(cv)}", example)
    splits = list(cv) if isinstance(cv, Iterator) else cv
    _check_splits(splits, place)
    return splits


def _check_splits(splits: Any, place: Place) -> None:
    first = next(iter(splits), None)
    if first is None:
        raise place.mistake("holds no splits", "write at least one (train, test) pair")
    if not (isinstance(first, tuple | list | np.ndarray) and len(first) == 2):
        raise place.mistake(
            f"is a list whose first item is {describe(first)}",
            "write (train, test) pairs of index arrays, or a number of folds such as 5",
        )


def check_refit(refit: Any, place: Place) -> None:
    """Raise SearchFileError unless `refit` is a bool, a scorer's name or a function."""
    if not (isinstance(refit, bool | np.bool_ | str) or callable(refit)):
        raise place.mistake(
            f"is {describe(refit)}", "write True, False, a scorer's name or a function"
        )


def check_error_score(error_score: Any, place: Place) -> None:
    """Raise SearchFileError unless `error_score` is a number or ``'raise'``."""
    if isinstance(error_score, str) and error_score == "raise":
        return
    if not isinstance(error_score, numbers.Real):
        raise place.mistake(f"is {describe(error_score)}", "write 'raise', or a number such as nan")


def check_return_train_score(value: Any, place: Place) -> None:
    """Raise SearchFileError unless `return_train_score` is a bool."""
    if not isinstance(value, bool | np.bool_):
        raise place.mistake(f"is {describe(value)}", "write True or False")


def check_n_iter(n_iter: Any, place: Place) -> None:
    """Raise SearchFileError unless `n_iter` is a whole number from 1."""
    if isinstance(n_iter, bool) or not isinstance(n_iter, numbers.Integral):
        raise place.mistake(f"is {describe(n_iter)}", "write a whole number such as 10")
    if n_iter < 1:
        raise place.mistake(f"is {n_iter}, so there is nothing to fit", "write at least 1")


def check_random_state(state: Any, place: Place) -> None:
    """Raise SearchFileError unless `random_state` is a seed, a ``RandomState`` or None."""
    example = "write a whole number such as 42"
    if isinstance(state, np.random.Generator):
        raise place.mistake("is a Generator, which scikit-learn does not take", example)
    if state is None or isinstance(state, np.random.RandomState):
        return
    if isinstance(state, bool) or not isinstance(state, numbers.Integral):
        raise place.mistake(f"is {describe(state)}", example)
    if not 0 <= int(state) <= _LARGEST_SEED:
        raise place.mistake(f"is {state}", f"write a whole number from 0 to {_LARGEST_SEED}")
