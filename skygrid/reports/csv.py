"""``cv_results.csv``: ``cv_results_``, one row per candidate."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skygrid.util.atomic_file import write_atomic

from .plain_values import plain_parameter, plain_text


def csv_text(results: Mapping[str, Any]) -> str:
    """Return ``cv_results_`` as CSV.

    Parameters
    ----------
    results : mapping of str to array of length n_candidates
        ``cv_results_`` of a fitted search.

    Returns
    -------
    text : str
        A header and n_candidates rows. A ``param_...`` cell is empty if the candidate lacks the
        parameter. The column ``params`` is omitted as redundant. Numbers read back bit for bit.
    """
    columns = [name for name in results if name != "params"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(_cell, _cells(results[name])) for name in columns), strict=True))
    return file.getvalue()


def write_csv(folder: Path, results: Mapping[str, Any]) -> None:
    """Write ``cv_results.csv`` into a run's folder."""
    write_atomic(folder / "cv_results.csv", csv_text(results).encode())


def _cells(column: Any) -> list[Any]:
    """Return the column as a list, with None for masked entries."""
    return column.tolist() if hasattr(column, "tolist") else list(column)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return "" if value is None else plain_text(plain_parameter(value))
