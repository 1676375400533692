"""Settings of the driver's process on a node."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from skygrid.worker.user_code.process_state import ProcessState, read_at_import, set_state


def test_variables_that_libraries_read_once_are_known_by_their_names() -> None:
    """Variables of NumPy, SciPy, scikit-learn, joblib and BLAS need new interpreters."""
    environment = {"SCIPY_ARRAY_API": "1", "SKLEARN_ASSUME_FINITE": None, "STRENGTH": "2"}
    assert read_at_import(environment) == {"SCIPY_ARRAY_API": "1", "SKLEARN_ASSUME_FINITE": None}


def test_time_zone_and_temporary_folder_follow_their_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python reads TZ and TMPDIR once; a node reads them again, also for the next search."""
    for name in ("TZ", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    time.tzset()
    before = tempfile.gettempdir(), time.tzname
    set_state(ProcessState(environment={"TZ": "JST-9", "TMPDIR": str(tmp_path)}))
    assert (tempfile.gettempdir(), time.tzname[0]) == (str(tmp_path), "JST")
    set_state(ProcessState())
    assert (tempfile.gettempdir(), time.tzname) == before
    assert "TZ" not in os.environ
