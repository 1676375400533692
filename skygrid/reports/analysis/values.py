"""Values of parameters: their identity, their numbers and their Python literals."""

from __future__ import annotations

import ast
import math
import types
from collections.abc import Hashable
from typing import Any

import numpy as np

COUNT_OR_FRACTION = frozenset(
    {
        "max_df",
        "max_features",
        "max_samples",
        "min_df",
        "min_samples",
        "min_samples_leaf",
        "min_samples_split",
        "n_components",
        "test_size",
        "train_size",
    }
)
"""Parameters for which 1 is a count and 1.0 a fraction."""


def last_part(name: str) -> str:
    """Return the estimator's own name of a parameter: ``C`` for ``svc__C``."""
    return name.rpartition("__")[2]


def value_key(value: Any) -> Hashable:
    """Return a key that is equal for values that are the same parameter.

    1, 1.0 and True have different keys. Estimators are compared by class and parameters, functions
    by name, and objects that show no contents by identity.
    """
    if value is None or isinstance(value, str | bool | np.bool_):
        return (type(value).__name__.removesuffix("_"), value)
    number = as_number(value)
    if number is not None:
        kind = "int" if isinstance(value, int | np.integer) else "float"
        return (kind, number if kind == "float" else int(value))
    if isinstance(value, float | np.floating):
        return ("float", str(float(value)))  # NaN is not equal to itself
    if isinstance(value, tuple | list):
        return (type(value).__name__, tuple(value_key(item) for item in value))
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, tuple(map(value_key, value.ravel())))
    if isinstance(value, dict):
        return ("dict", frozenset((value_key(k), value_key(v)) for k, v in value.items()))
    return _object_key(value)


def same_setting(name: str, first: Any, second: Any) -> bool:
    """Compare two values of a parameter; 1 equals 1.0 unless one is a count, one a fraction."""
    if value_key(first) == value_key(second):
        return True
    one, other = as_number(first), as_number(second)
    return one is not None and one == other and last_part(name) not in COUNT_OR_FRACTION


def as_number(value: Any) -> float | None:
    """Return a finite number as a float, else None. A bool is no number."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int beyond the range of floats
        return None
    return number if math.isfinite(number) else None


def is_estimator(value: Any) -> bool:
    """Report whether the value is an estimator, and not a class of estimators."""
    return hasattr(value, "get_params") and not isinstance(value, type)


def is_predictor(value: Any) -> bool:
    """Report whether the value is an estimator that predicts."""
    return is_estimator(value) and hasattr(value, "predict")


def literal(value: Any) -> str | None:
    """Return the Python literal of a value; None if it has none, as estimators and NaN."""
    plain = _plain(value)
    text = _source(plain)
    try:
        same = value_key(ast.literal_eval(text)) == value_key(plain)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None  # not a literal
    return text if same else None


def _source(value: Any) -> str:
    """Return the repr of a value, with double quotes where they need no escape."""
    if type(value) in (list, tuple):
        items = [_source(item) for item in value]
        if type(value) is list:
            return f"[{', '.join(items)}]"
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    text = repr(value)
    plain_text = type(value) is str and text[0] == "'" and not {'"', "\\"} & set(text)
    return f'"{text[1:-1]}"' if plain_text else text


def _plain(value: Any) -> Any:
    """Return a value with NumPy's scalars replaced by Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    if type(value) is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value


def _object_key(value: Any) -> Hashable:
    kind = type(value) if not isinstance(value, type) else value
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, type):
        return ("class", name)
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        local = "<" in value.__qualname__  # lambdas and inner functions share their names
        return ("function", id(value) if local else f"{value.__module__}.{value.__qualname__}")
    try:
        if is_estimator(value):
            own = value.get_params(deep=False)
            return ("estimator", name, tuple((key, value_key(own[key])) for key in sorted(own)))
        text = repr(value)
    except Exception:  # noqa: BLE001  # a user's class may raise anything; its object is itself
        return ("object", name, id(value))
    return ("object", name, id(value) if " at 0x" in text else text)
