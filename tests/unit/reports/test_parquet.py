"""``cv_results.parquet``: types, bits and missing values, by pyarrow and by polars."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet
import pytest
from sklearn.svm import SVC

from skygrid.reports.parquet import FILE_NAME, write_parquet


def objects(*values: Any) -> Any:
    """Return values as scikit-learn masks them: `...` stands for a missing parameter."""
    array = np.ma.masked_all(len(values), dtype=object)
    for place, value in enumerate(values):
        if value is not ...:
            array[place] = value
    return array


RESULTS = {
    "mean_test_score": np.array([0.1, math.nan, math.inf]),
    "rank_test_score": np.array([1, 3, 2], dtype=np.int32),
    "n_resources": [20, 20, 60],
    "param_C": np.ma.array([1, 2, 3], mask=[False, True, False]),
    "param_small": np.ma.array([0.1, 0.2, 0.3], mask=False, dtype=np.float32),
    "param_half": np.ma.array([0.5, 1, 2], mask=False, dtype=np.float16),
    "param_depth": objects(3, None, ...),
    "param_flag": objects(True, ..., False),
    "param_gamma": objects("scale", 0.1, ...),
    "param_kernel": objects("rbf", None, ...),
    "param_layers": objects((3,), (3, 2), ...),
    "param_clf": objects(SVC(C=3), SVC(), ...),
    "param_missing": objects(math.nan, 1.5, ...),
    "params": [{}, {}, {}],
}

EXPECTED = {
    "rank_test_score": [1, 3, 2],
    "n_resources": [20, 20, 60],
    "param_C": [1, None, 3],
    "param_small": [float(np.float32(one)) for one in (0.1, 0.2, 0.3)],
    "param_half": [0.5, 1.0, 2.0],
    "param_depth": [3, None, None],
    "param_flag": [True, None, False],
    "param_gamma": ["scale", "0.1", None],
    "param_kernel": ["rbf", None, None],
    "param_layers": ["(3,)", "(3, 2)", None],
    "param_clf": ["SVC(C=3)", "SVC()", None],
}


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_both_libraries_read_what_either_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """A file of pyarrow or polars has the same types and values for both."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow" if library == "polars" else "polars", None)
        write_parquet(tmp_path, RESULTS)
    table = pyarrow.parquet.read_table(tmp_path / FILE_NAME)
    frame = pl.read_parquet(tmp_path / FILE_NAME)
    assert table.column_names == frame.columns == [name for name in RESULTS if name != "params"]
    for name, values in EXPECTED.items():
        assert table[name].to_pylist() == frame[name].to_list() == values, name
    for read in (table["mean_test_score"].to_pylist(), frame["mean_test_score"].to_list()):
        assert repr(read) == "[0.1, nan, inf]"
    assert repr(frame["param_missing"].to_list()) == "[nan, 1.5, None]"
    types = {name: str(frame[name].dtype) for name in frame.columns}
    assert types["rank_test_score"] == "Int32"
    assert types["param_C"] == types["param_depth"] == types["n_resources"] == "Int64"
    assert types["param_small"] == types["param_half"] == "Float32"
    assert types["param_flag"] == "Boolean"


def test_without_a_library_there_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow and polars a run has no Parquet file, and no error."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    write_parquet(tmp_path, RESULTS)
    assert not list(tmp_path.iterdir())
