"""``cv_results_`` as a DataFrame of pandas or polars."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from skygrid.errors import UsageError

from .plain_values import from_plain, plain_text

INT64 = range(-(2**63), 2**63)
MISSING = object()
"""Stands for a parameter that a candidate does not have."""


def data_frame(results: Mapping[str, Sequence[Any]]) -> Any:
    """Return results as a DataFrame, one row per candidate.

    Parameters
    ----------
    results : mapping of str to sequence of length n_candidates
        ``cv_results`` of a `result.json`. Its column ``params`` tells missing parameters from those
        that are None.

    Returns
    -------
    frame : pandas.DataFrame or polars.DataFrame
        Of pandas if it is installed. Numbers and text keep their types. In pandas a column of mixed
        values holds the values themselves; in polars, their text.

    Raises
    ------
    UsageError
        If neither library is installed.
    """
    for library, make in (("pandas", _pandas), ("polars", _polars)):
        try:
            module = importlib.import_module(library)
        except ImportError:  # the next one may be there
            continue
        return make(module, results)
    raise UsageError(
        "a DataFrame needs pandas or polars, and neither is installed: "
        "pip install 'skygrid[pandas]' or 'skygrid[polars]'"
    )


def columns_of(results: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the columns with values read back; `MISSING` where a candidate lacks a parameter."""
    params = results.get("params")
    columns = {}
    for name, column in results.items():
        if name == "params":
            continue
        key = name.removeprefix("param_")
        if params is None or key == name:
            columns[name] = list(column)
        else:
            pairs = zip(params, column, strict=True)
            columns[name] = [value if key in own else MISSING for own, value in pairs]
    return columns


def kind_of(values: Sequence[Any]) -> type | None:
    """Return the one type of a column's values, of bool, int, float and str; None: mixed values.

    None and `MISSING` do not count. A column without other values is one of floats, because
    missing scores are null.
    """
    kinds = {type(value) for value in values if value is not None and value is not MISSING}
    if not kinds:
        return float
    if kinds == {int} and any(value not in INT64 for value in values if type(value) is int):
        return None
    return kinds.pop() if len(kinds) == 1 and kinds <= {bool, int, float, str} else None


def _pandas(pandas: Any, results: Mapping[str, Sequence[Any]]) -> Any:
    return pandas.DataFrame(
        {name: _series(pandas, name, values) for name, values in columns_of(results).items()}
    )


def _series(pandas: Any, name: str, values: list[Any]) -> Any:
    nan = float("nan")
    if not name.startswith("param_"):
        numbers = [nan if value is None else value for value in values]
        return pandas.Series(numbers, dtype=_number_type(name, numbers))
    decoded = [nan if value is MISSING else from_plain(value) for value in values]
    whole = all(value is not None and value is not MISSING for value in values)
    kind = kind_of(values) if whole else None
    # Of whole numbers, pandas would make floats where one is missing.
    return pandas.Series(decoded, dtype=object if kind in (None, str) else kind)


def _number_type(name: str, values: Sequence[Any]) -> str | None:
    if name.startswith("rank_test_"):
        return "int32"  # as in scikit-learn
    kind = kind_of(values)
    return None if kind is None else {float: "float64", int: "int64"}.get(kind)


def _polars(polars: Any, results: Mapping[str, Sequence[Any]]) -> Any:
    columns = columns_of(results)
    return polars.DataFrame([_polars_series(polars, name, columns[name]) for name in columns])


def _polars_series(polars: Any, name: str, values: list[Any]) -> Any:
    kinds = {bool: polars.Boolean, int: polars.Int64, float: polars.Float64, str: polars.String}
    kind = kind_of(values)
    present = [None if value is MISSING else value for value in values]
    if kind is None:
        present, kind = [text_of(value) for value in present], str
    if name.startswith("rank_test_"):
        return polars.Series(name, present, dtype=polars.Int32)
    return polars.Series(name, present, dtype=kinds[kind])


def text_of(value: Any) -> str | None:
    """Return the text of a value in a column of mixed values; None for None."""
    return None if value is None else plain_text(value)
