"""Lengths and shapes of samples and targets in any container."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from skygrid.user_code.source import Place, describe


def n_samples(values: Any) -> int | None:
    """Return the number of samples, None if it is unknown without reading them."""
    shape = getattr(values, "shape", None)
    if isinstance(shape, tuple) and shape:
        return int(shape[0]) if isinstance(shape[0], numbers.Integral) else None
    return len(values) if hasattr(values, "__len__") and shape is None else None


def n_features(X: Any) -> int | None:
    """Return the number of features, None for samples without a second dimension."""
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple) and len(shape) > 1:
        return int(shape[1]) if isinstance(shape[1], numbers.Integral) else None
    if isinstance(X, list | tuple) and X and isinstance(X[0], list | tuple):
        return len(X[0])
    return None


def check_samples(X: Any, place: Place, name: str) -> None:
    """Refuse samples that are missing, empty or not array-like.

    Raises
    ------
    SearchFileError
        `X` is no container that scikit-learn can split.
    """
    form = f"write {name} as an array, a DataFrame, a sparse matrix or a list"
    if X is None:
        raise place.mistake(f"has None as {name}", form)
    if hasattr(X, "collect") and not hasattr(X, "shape"):
        raise place.mistake(f"has {describe(X)} as {name}", f"write {name}.collect()")
    if isinstance(X, Iterator):
        raise place.mistake(f"has {describe(X)} as {name}", f"write list({name})")
    if isinstance(X, str | bytes | Mapping | set | frozenset | type) or not _is_array_like(X):
        raise place.mistake(f"has {describe(X)} as {name}", form)
    if n_samples(X) == 0:
        raise place.mistake(f"has no samples: {name} is empty", "look at how it is made")


def check_targets(X: Any, y: Any, place: Place, names: tuple[str, str]) -> None:
    """Refuse targets (or groups, or weights) that are not one per sample.

    Raises
    ------
    SearchFileError
        `y` has no length, or another one than `X`.
    """
    if y is None:
        return
    if isinstance(y, str | bytes | Mapping | set | frozenset | type) or not _is_array_like(y):
        raise place.mistake(f"has {describe(y)} as {names[1]}", f"write {names[1]} as an array")
    ours, theirs = n_samples(X), n_samples(y)
    if ours is not None and theirs is not None and ours != theirs:
        raise place.mistake(
            f"has {ours} samples in {names[0]} and {theirs} values in {names[1]}",
            "make them equally long",
        )


def _is_array_like(values: Any) -> bool:
    shape = getattr(values, "shape", None)
    if isinstance(shape, tuple):
        return len(shape) > 0
    return hasattr(values, "__len__") and hasattr(values, "__getitem__")
