"""A question that scikit-learn asks of all data, answered at once for NumPy's own arrays.

Since 1.9 it asks narwhals several times in each fit and each score whether what it was given is a
table or a column of one, and narwhals then looks through every library of tables that it knows.
For many a fit on few samples that takes longer than anything else around it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_QUESTIONS = ("is_into_dataframe", "is_into_series")


def know_plain_arrays() -> None:
    """Have narwhals, as scikit-learn asks it in this process, know a NumPy array by its type.

    An array of a class of its own, and everything else, is looked into as before. No effect where
    scikit-learn has not imported narwhals.
    """
    asked = sys.modules.get("narwhals.stable.v2.dependencies")
    for name in _QUESTIONS:
        answer = getattr(asked, name, None)
        if answer is not None and answer.__module__ != __name__:
            setattr(asked, name, _knowing(answer))


def _knowing(answer: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def knows(native: Any) -> bool:
        return type(native) is not np.ndarray and answer(native)

    return knows
