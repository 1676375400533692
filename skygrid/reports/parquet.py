"""``cv_results.parquet``: ``cv_results_`` with its types, where pyarrow or polars is installed."""

from __future__ import annotations

import importlib
import io
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from skygrid.util.atomic_file import write_atomic

from .frames import kind_of, text_of
from .plain_values import plain_parameter

LOGGER = logging.getLogger(__name__)

FILE_NAME = "cv_results.parquet"
LIBRARIES = ("pyarrow", "polars")

SMALLEST = {np.dtype(np.float16): np.float32, np.dtype(np.longdouble): np.float64}
"""Types that some readers of Parquet lack, with one that they have."""


def write_parquet(folder: Path, results: Mapping[str, Any]) -> None:
    """Write ``cv_results.parquet`` into a run's folder, if a library for it is installed.

    Parameters
    ----------
    folder : Path
    results : mapping of str to array of length n_candidates
        ``cv_results_`` of a fitted search. Its column ``params`` is omitted as redundant. Numbers
        keep their types; in a column of other or mixed values each value is text. A parameter that
        a candidate lacks, and None, are null.

    Raises
    ------
    FolderError
        If the file cannot be written.
    """
    write = _writer()
    if write is None:
        return
    columns = {name: column_of(column) for name, column in results.items() if name != "params"}
    content = io.BytesIO()
    write(columns, content)  # first: it imports a library, which takes long
    write_atomic(folder / FILE_NAME, content.getbuffer())


def column_of(column: Any) -> Any:
    """Return a column as a masked array of numbers or booleans, or as a list of text and None."""
    array = np.ma.asarray(column) if hasattr(column, "dtype") else _as_array(column)
    if array.dtype.kind in "biuf":
        return array.astype(SMALLEST.get(array.dtype, array.dtype))
    missing = np.ma.getmaskarray(array)
    values = [
        None if lacks else value if isinstance(value, float) else plain_parameter(value)
        for value, lacks in zip(array.data.tolist(), missing.tolist(), strict=True)
    ]
    kind = kind_of(values)
    if kind in (bool, int, float):
        nulls = [value is None for value in values]
        whole = [kind() if value is None else value for value in values]
        return np.ma.array(whole, mask=nulls, dtype=kind)
    return values if kind is str else [text_of(_plain(value)) for value in values]


def _as_array(column: Any) -> Any:
    """Return a list of values as an array; of floats if all are, as means of partial results."""
    values = list(column)
    if all(type(value) is float for value in values):
        return np.ma.asarray(np.array(values, dtype=float))
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return np.ma.asarray(array)


def _plain(value: Any) -> Any:
    return plain_parameter(value) if isinstance(value, float) else value


def _writer() -> Any:
    """Return the function that writes columns to a file; None without a library."""
    writers = {"pyarrow": _write_pyarrow, "polars": _write_polars}
    # A library that is loaded already costs no time.
    for library in sorted(LIBRARIES, key=lambda name: name not in sys.modules):
        try:
            importlib.import_module(library)
        except ImportError:  # the other one may be there
            continue
        return writers[library]
    LOGGER.info("no %s: neither pyarrow nor polars is installed", FILE_NAME)
    return None


def _write_pyarrow(columns: Mapping[str, Any], file: IO[bytes]) -> None:
    pyarrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    arrays = {
        name: pyarrow.array(column, type=pyarrow.string())
        if isinstance(column, list)
        else pyarrow.array(column.data, mask=np.ma.getmaskarray(column))
        for name, column in columns.items()
    }
    parquet.write_table(pyarrow.table(arrays), file)


def _write_polars(columns: Mapping[str, Any], file: IO[bytes]) -> None:
    polars: Any = importlib.import_module("polars")
    series = []
    for name, column in columns.items():
        if isinstance(column, list):
            series.append(polars.Series(name, column, dtype=polars.String))
            continue
        whole = polars.Series(name, column.data)
        nulls = polars.Series(np.ma.getmaskarray(column))
        series.append(whole.set(nulls, None))
    polars.DataFrame(series).write_parquet(file)
