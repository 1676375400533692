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
        self._found: set[str] = set()

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
        self._found.add(module.__name__)
        path, _, text = self._sources[module.__name__]
        module.__file__ = path
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)

    def forget(self) -> None:
        """Have what was found here looked for anew."""
        for name in self._found:
            sys.modules.pop(name, None)


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
    for finder in [finder for finder in sys.meta_path if isinstance(finder, NeighbourFinder)]:
        sys.meta_path.remove(finder)
        finder.forget()
    for path, _, text in sources.values():
        # Without a time of change nobody looks for the file.
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    if sources:
        sys.meta_path.insert(0, NeighbourFinder(sources))
