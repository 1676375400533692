"""Settings of scikit-learn that a search file makes in environment variables.

scikit-learn reads them when it is imported, which is before the search file runs here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sklearn

_SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "SKLEARN_ASSUME_FINITE": ("assume_finite", bool),
    "SKLEARN_WORKING_MEMORY": ("working_memory", int),
    "SKLEARN_PAIRWISE_DIST_CHUNK_SIZE": ("pairwise_dist_chunk_size", int),
}
"""Name and type of each setting. Source: ``sklearn/_config.py``."""


@contextmanager
def settings_from_environment() -> Iterator[None]:
    """Apply the variables that the block changes, except to settings that it makes itself."""
    variables, config = dict(os.environ), sklearn.get_config()
    yield
    now = sklearn.get_config()
    for variable, (setting, read) in _SETTINGS.items():
        text = os.environ.get(variable)
        changed = text is not None and text != variables.get(variable)
        if changed and now[setting] == config[setting]:
            sklearn.set_config(**{setting: read(str(text))})
