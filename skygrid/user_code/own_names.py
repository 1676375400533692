"""Modules beside a search file that bear the name of a library which skygrid itself has loaded.

``import rich`` finds the file rich.py beside the program that is run. In this process the library
of that name is loaded already, and skygrid goes on using it. So an ``import`` statement in the
user's code is answered by itself.
"""

from __future__ import annotations

import builtins
import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from skygrid.user_code.modules import in_user_tree, is_library

NEEDED = frozenset(
    {"cloudpickle", "joblib", "narwhals", "numpy", "scipy", "sklearn", "threadpoolctl"}
)
"""Libraries without which scikit-learn, or a node, does not run: a module beside the search file
that bears such a name is not found, as with scikit-learn alone nothing would work."""

PROGRAM = """
import sys
folder = sys.argv[1]
sys.path.insert(0, folder)
import sklearn.model_selection
from importlib.util import find_spec
places = {name: str(getattr(find_spec(name), "origin", "")) for name in sys.argv[2:]}
print("", *(name for name, place in places.items() if place.startswith(folder)))
"""
"""Prints which of some names mean modules in a folder for a program there."""


class OwnNames:
    """Answers imports of such modules; there is one, `own_names`, for the process."""

    def __init__(self) -> None:
        self.loaded: dict[str, ModuleType] = {}
        """Those that were imported, by their names."""

        self.paths: dict[str, Path] = {}
        """Files of all of them, imported or not."""

        self._folder = Path()
        self._import = builtins.__import__

    def look(self, folder: Path) -> None:
        """Find those in the folder of a search file, instead of an earlier one's."""
        self.forget()
        beside = {path.stem: path for path in folder.glob("*.py")}
        libraries = [name for name in beside if is_library(sys.modules.get(name))]
        self.paths = {name: beside[name] for name in _giving_way(libraries, folder)}
        if self.paths:
            self._folder = folder
            builtins.__import__ = self._answer

    def forget(self) -> None:
        """Answer nothing any more."""
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
        if level == 0 and name in self.paths and self._is_users(globals):
            return self.loaded.get(name) or self._load(name)
        return self._import(name, globals, locals, fromlist or (), level)

    def _is_users(self, its_globals: Mapping[str, Any] | None) -> bool:
        file = (its_globals or {}).get("__file__")
        return isinstance(file, str) and in_user_tree(Path(file), self._folder)

    def _load(self, name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, self.paths[name])
        assert spec is not None  # its name ends in .py
        assert spec.loader is not None
        module = self.loaded[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del self.loaded[name]
            raise
        return module


own_names = OwnNames()


def named_as_libraries(folder: Path) -> dict[str, Path]:
    """Return the modules beside a program that a fit imports instead of a library of that name.

    A node may have loaded the library already. Modules that this process has loaded are not among
    them, unless `own_names` has.
    """
    beside = {path.stem: path for path in folder.glob("*.py")}
    beside |= {path.parent.name: path for path in folder.glob("*/__init__.py")}
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != folder.resolve()]
    unloaded = {
        name: path
        for name, path in beside.items()
        if name not in sys.modules and _is_library_of(elsewhere, name)
    }
    return unloaded | own_names.paths


def _is_library_of(folders: list[str], name: str) -> bool:
    if name in sys.stdlib_module_names:
        return True
    spec = PathFinder.find_spec(name, folders)
    return spec is not None and spec.origin is not None


def _giving_way(libraries: Sequence[str], folder: Path) -> set[str]:
    """Return those libraries in whose place a program in the folder gets its own modules."""
    standard = [name for name in libraries if name in sys.stdlib_module_names]
    own = _found_by_a_program(folder, standard) if standard else set()
    return own | {name for name in libraries if name not in {*standard, *NEEDED}}


def _found_by_a_program(folder: Path, names: Sequence[str]) -> set[str]:
    """Return the names that mean modules in the folder, once scikit-learn is imported from there.

    An interpreter tries it: what it has loaded by itself, such as `os`, stays, and so does the
    whole standard library where scikit-learn cannot be imported with such modules in its way.
    """
    command = [sys.executable, "-P", "-c", PROGRAM, str(folder), *names]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return set(done.stdout.decode().splitlines()[-1].split()) if done.returncode == 0 else set()
