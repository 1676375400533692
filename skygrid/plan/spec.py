"""The record of a search, made by loading and read by everything after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class UserCode:
    """The program that describes a search, and the user's modules that it uses."""

    program: Path | None = None
    """Its file; None for a notebook and an interpreter."""

    folder: Path | None = None
    """Folder of the user's own modules."""

    modules: tuple[str, ...] = ()
    """Names (in `sys.modules`) of the user's modules."""

    by_name: Mapping[str, Path] = field(default_factory=dict)
    """Name -> file of the modules that nodes import; the program is not among them."""

    unloaded: Mapping[str, Path] = field(default_factory=dict)
    """Files beside the program, not imported yet, that are imported instead of libraries of their
    names. A node must forget such a library where it has loaded it."""


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
    """The search file, None if the search came from Python."""

    code: UserCode = field(default_factory=UserCode)

    started_in: Path = Path()
    """Base of the command's relative paths: the working directory before the search file ran. Empty
    if the file did not change it.
    """

    imported: frozenset[str] = frozenset()
    """Top-level names of the modules that the search file and its neighbours import or refer to,
    the standard library's included, without the neighbours themselves, which are sent.
    """

    notes: tuple[str, ...] = ()
    """Sentences for the user about names that have no effect."""
