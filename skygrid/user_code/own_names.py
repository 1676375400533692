"""Modules beside a search file that have the name of a library which skygrid has loaded.

In a plain program, ``import rich`` finds a rich.py beside it. In this process the library rich is
loaded already, and skygrid needs it. So ``import`` statements in user code get the user's module,
and all others get the library.
"""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from skygrid.user_code.modules import in_user_tree, is_library

NEEDED = frozenset(
    {"cloudpickle", "joblib", "narwhals", "numpy", "scipy", "sklearn", "threadpoolctl"}
)
"""Libraries that scikit-learn or a node needs. Modules with these names are ignored: with
scikit-learn alone they would break the program."""

PROGRAM = """
import sys
folder = sys.argv[1]
sys.path.insert(0, folder)
import sklearn.model_selection
from importlib.util import find_spec
places = {name: str(getattr(find_spec(name), "origin", "")) for name in sys.argv[2:]}
print("", *(name for name, place in places.items() if place.startswith(folder)))
"""
"""Prints those of the given names that a program in a folder imports from that folder."""


class OwnNames:
    """Replaces ``__import__`` to answer imports of these modules. One per process: `own_names`."""

    def __init__(self) -> None:
        self.loaded: dict[str, ModuleType] = {}
        """Modules that were imported, and their submodules, by name."""

        self.paths: dict[str, Path] = {}
        """Files of all these modules, imported or not. That of a package is its `__init__.py`."""

        self._folder = Path()
        self._import = builtins.__import__
        self._importing = False

    def look(self, folder: Path) -> None:
        """Find these modules in the folder of a search file; forget an earlier folder."""
        self.forget()
        beside = _modules_in(folder)
        libraries = [name for name in beside if is_library(sys.modules.get(name))]
        self.paths = {name: beside[name] for name in _giving_way(libraries, folder)}
        if self.paths:
            self._folder = folder
            builtins.__import__ = self._answer

    def forget(self) -> None:
        """Restore ``__import__``."""
        self.paths, self.loaded = {}, {}
        builtins.__import__ = self._import

    def _answer(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 (the name that Python gives it)
        locals: Mapping[str, Any] | None = None,  # noqa: A002 (the same)
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        importer = globals or {}
        wanted = name if level == 0 else str(importer.get("__package__"))
        if _top(wanted) not in self.paths or not self._is_users(importer):
            return self._import(name, globals, locals, fromlist or (), level)
        if level == 0 and not fromlist and name in self.loaded:
            return self.loaded[_top(name)]
        with self.exchanged():
            return self._import(name, globals, locals, fromlist or (), level)

    def _is_users(self, importer: Mapping[str, Any]) -> bool:
        file = importer.get("__file__")
        return isinstance(file, str) and in_user_tree(Path(file), self._folder)

    @contextmanager
    def exchanged(self) -> Iterator[None]:
        """Exchange the libraries in `sys.modules` for the user's modules while the block runs."""
        if self._importing:  # user modules that import each other
            yield
            return
        self._importing = True
        libraries = self._take_out()
        sys.modules.update(self.loaded)
        try:
            yield
        finally:
            self.loaded = self._take_out()
            sys.modules.update(libraries)
            self._importing = False

    def _take_out(self) -> dict[str, ModuleType]:
        names = [name for name in sys.modules if _top(name) in self.paths]
        return {name: sys.modules.pop(name) for name in names}


own_names = OwnNames()


def named_as_libraries(folder: Path) -> dict[str, Path]:
    """Return the modules beside a program that its fits import instead of a library.

    They need care because a node may have loaded the library already. Modules that this process has
    loaded are left out, except those of `own_names`.
    """
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != folder.resolve()]
    unloaded = {
        name: path
        for name, path in _modules_in(folder).items()
        if name not in sys.modules and _is_library_of(elsewhere, name)
    }
    return unloaded | own_names.paths


def _modules_in(folder: Path) -> dict[str, Path]:
    """Return the files of the modules and packages in a folder; a package hides a module."""
    modules = {path.stem: path for path in folder.glob("*.py")}
    return modules | {path.parent.name: path for path in folder.glob("*/__init__.py")}


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_library_of(folders: list[str], name: str) -> bool:
    if name in sys.stdlib_module_names:
        return True
    spec = PathFinder.find_spec(name, folders)
    return spec is not None and spec.origin is not None


def _giving_way(libraries: Sequence[str], folder: Path) -> set[str]:
    """Return those libraries that modules in the folder replace for a program there."""
    standard = [name for name in libraries if name in sys.stdlib_module_names]
    own = _found_by_a_program(folder, standard) if standard else set()
    return own | {name for name in libraries if name not in {*standard, *NEEDED}}


def _found_by_a_program(folder: Path, names: Sequence[str]) -> set[str]:
    """Return those names that a program in the folder imports from the folder.

    A new interpreter imports scikit-learn and looks the names up. Modules that every interpreter
    loads, such as `os`, are never replaced. If scikit-learn cannot be imported, none is.
    """
    command = [sys.executable, "-P", "-c", PROGRAM, str(folder), *names]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return set(done.stdout.decode().splitlines()[-1].split()) if done.returncode == 0 else set()
