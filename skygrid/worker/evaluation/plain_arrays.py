"""A shortcut for scikit-learn's checks for data frames, for plain NumPy arrays.

Since 1.9, each fit and each score ask narwhals several times if their data is a table or a column.
narwhals then searches all table libraries, which can take longer than the rest of the overhead of a
small fit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_CHECKS = ("is_into_dataframe", "is_into_series")


def know_plain_arrays() -> None:
    """Make narwhals, as scikit-learn uses it in this process, recognise NumPy arrays at once.

    Subclasses of ndarray and all other types are checked as before. No effect if narwhals is not
    imported.
    """
    dependencies = sys.modules.get("narwhals.stable.v2.dependencies")
    for name in _CHECKS:
        check = getattr(dependencies, name, None)
        if check is not None and check.__module__ != __name__:
            setattr(dependencies, name, _shortcut(check))


def _shortcut(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def is_known(native: Any) -> bool:
        return type(native) is not np.ndarray and check(native)

    return is_known
