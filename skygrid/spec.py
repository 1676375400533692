"""What is to be searched: the record that loading makes and everything after it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """One hyperparameter search, complete and unfitted."""

    search: Any
    """An unfitted `sklearn.model_selection.BaseSearchCV`."""

    X: Any
    """The samples: array, DataFrame, sparse matrix or list of length n_samples."""

    y: Any = None
    """The targets, of length n_samples, or None."""

    fit_params: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of ``search.fit``: groups, sample_weight and the like."""

    holdout: tuple[Any, Any] | None = None
    """``(X_test, y_test)``, scored once after the refit."""

    source: Path | None = None
    """The search file, None when the search came from Python."""

    user_modules: tuple[str, ...] = ()
    """Names (in `sys.modules`) of the search file's module and of the modules beside it.

    Their functions and classes travel and are saved by value, as nodes and later readers of the
    saved search have no such files."""

    sources: Mapping[str, tuple[str, bool, str]] = field(default_factory=dict)
    """Text of the modules beside the search file that it may import, by their names: path, whether
    it is a package, text. An import inside a function finds them on a node."""

    imported: frozenset[str] = frozenset()
    """Top-level names of the modules that the search file and its neighbours brought in or refer
    to, the standard library's among them; the neighbours themselves are not, as they travel."""
