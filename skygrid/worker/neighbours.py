"""Modules beside the search file, on a node that has no such files.

What the search file imports when it is loaded travels by value, with the functions and classes that
use it. An ``import`` inside a function runs on the node, and finds its module here.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

Source = tuple[str, bool, str]
"""Where the module was on the driver, whether it is a package, and its text."""


class NeighbourFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules among texts.

    Parameters
    ----------
    sources : mapping of str to Source
        By the module's whole name.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's specification, None for any other module."""
        if fullname not in self._sources:
            return None
        path_there, is_package, _ = self._sources[fullname]
        return importlib.util.spec_from_loader(
            fullname, self, origin=path_there, is_package=is_package
        )

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's text."""
        path, _, text = self._sources[module.__name__]
        module.__file__ = path
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)


class Findable:
    """Modules that can be imported in a process from the moment in which it unpickles this.

    It has to come first in what is pickled: what follows may be of such a module.

    Parameters
    ----------
    folders : sequence of str
        Searched behind the process's own import folders.
    sources : mapping of str to Source
        Found before any other module of their names.
    """

    def __init__(self, folders: Sequence[str], sources: Mapping[str, Source]) -> None:
        self._folders, self._sources = list(folders), dict(sources)

    def __reduce__(self) -> tuple[Any, ...]:
        return _find_modules, (self._folders, self._sources)


def _find_modules(folders: Sequence[str], sources: Mapping[str, Source]) -> None:
    known = set(sys.path)
    sys.path.extend(folder for folder in folders if folder not in known)
    add_neighbours(sources)


def add_neighbours(sources: Mapping[str, Source]) -> None:
    """Have these modules found before any other of their names, as beside the search file.

    Their lines stand in tracebacks, also of what came by value. Those of an earlier search are
    forgotten: the user may have changed them since.
    """
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not NeighbourFinder]
    for name, module in list(sys.modules.items()):
        if type(getattr(getattr(module, "__spec__", None), "loader", None)) is NeighbourFinder:
            del sys.modules[name]
    for path, _, text in sources.values():
        # Without a time of change nobody looks for the file.
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    if sources:
        sys.meta_path.insert(0, NeighbourFinder(sources))
